/**
 * The front page in a real Chromium, used as by a visitor. The tests of a block share one page and run in
 * order.
 */
import { join } from 'node:path';
import { PNG } from 'pngjs';
import type { Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { patchColour, pixels, pointOf, query, YELLOW } from './explorePage.js';
import {
  colours,
  done,
  downloaded,
  fileOf,
  give,
  loadTiny,
  openPage,
  openSite,
  openTiny,
  root,
  shiftsOf,
  tiny,
  toast,
  watchShifts,
  type Site,
  type Watched,
} from './site.js';

let site: Site;
beforeAll(async () => void (site = await openSite()));
afterAll(() => site?.close());

const text = (page: Page, id: string): Promise<string> => page.locator(`#${id}`).innerText();
const photos = join(root, 'demo/photos');
const bytesOf = (words: string): Uint8Array => new TextEncoder().encode(words);
describe('the page', () => {
  let watched: Watched;
  let page: Page;
  beforeAll(async () => {
    watched = await openPage(site, watchShifts);
    page = watched.page;
  });
  afterAll(() => page.context().close());

  it('loads a model at once, says that it is not trained, and says in the frame what it computes', async () => {
    await page.waitForFunction(() =>
      document.querySelector('#map-status')!.textContent!.startsWith('Computing the features of coffee'),
    );
    expect(await page.locator('#map').isVisible()).toBe(false);
    expect(await text(page, 'map-caption')).toBe('');
    await done(page, 'coffee');
    expect(await text(page, 'model-open')).toMatch(/^ViT-S\s+not trained\s+float32\s+change$/);
    expect(await text(page, 'load-trained')).toMatch(/^Load trained weights \(88 MB\)$/);
    expect(await text(page, 'status')).toMatch(/^16 × 16 patches · 257 tokens · forward pass [\d.]+ m?s/);
    expect(await text(page, 'map-caption')).toMatch(/^16 × 16 patches of coffee: three principal components/);
    expect(await page.locator('#code').textContent()).toMatch(
      /^import \{ DINOv2, PCA \} from 'dinov2-webgpu';[^]*DINOv2\.synthetic\('small'\)/,
    );
    const { sum, moved } = await shiftsOf(page);
    expect(sum, moved).toBeLessThanOrEqual(0.02);
  });

  it('draws varied features, and the photograph', async () => {
    const pca = await colours(page, 'map');
    expect([pca.width, pca.height]).toEqual([16, 16]);
    expect(pca.distinct).toBeGreaterThan(100);
    expect((await colours(page, 'photo')).distinct).toBeGreaterThan(1000);
  });

  it('hides the line about training for good when it is dismissed', async () => {
    await page.locator('#offer-dismiss').click();
    expect(await page.locator('#model-offer').isVisible()).toBe(false);
    expect(await text(page, 'model-weights')).toBe('not trained');
  });

  it('loads weights from a dropped file', async () => {
    const before = await colours(page, 'map');
    await loadTiny(page);
    expect(await text(page, 'model-weights')).toBe('your file');
    await expect.poll(async () => (await colours(page, 'map')).text).not.toBe(before.text);
    expect((await colours(page, 'map')).distinct).toBeGreaterThan(100);
  });

  it('draws another map for another photograph, and the same map for the same one', async () => {
    const coffee = await colours(page, 'map');
    await page.locator('input[value="chelsea"]').check();
    await done(page, 'chelsea');
    expect((await colours(page, 'map')).text).not.toBe(coffee.text);
    await page.locator('input[value="coffee"]').check();
    await done(page, 'coffee');
    expect((await colours(page, 'map')).text).toBe(coffee.text);
  });

  it('works with the keyboard: arrows through the photographs, the tabs and the form', async () => {
    await page.locator('input[value="coffee"]').focus();
    await page.keyboard.press('ArrowRight');
    await done(page, 'chelsea');
    await page.locator('#model-open').focus();
    await page.keyboard.press('Enter');
    await page.locator('input[name="weights"]:checked').focus();
    await page.keyboard.press('ArrowUp');
    await page.keyboard.press('ArrowUp');
    expect(await text(page, 'load')).toBe('Load ViT-S, not trained');
    await page.locator('#registers').focus();
    expect(await page.locator('#registers').evaluate((box) => getComputedStyle(box).outlineStyle)).toBe(
      'solid',
    );
    await page.keyboard.press('Space');
    expect(await text(page, 'load')).toBe('Load ViT-S with registers, not trained');
    await page.locator('input[value="file"]').check();
    expect(await text(page, 'load')).toBe('This model is loaded');
    await page.keyboard.press('Escape');
    expect(await page.locator('#model-panel').isVisible()).toBe(false);
    expect(await text(page, 'model-name')).toBe('model.safetensors'); // choosing a model does not load it
    await page.locator('#tab-pca').focus();
    await page.keyboard.press('ArrowRight');
    expect(await page.locator('#tab-similarity').getAttribute('aria-selected')).toBe('true');
    await page.keyboard.press('Home');
    expect(await page.locator('#tab-pca').getAttribute('aria-selected')).toBe('true');
  });

  it('shows the last photograph after many quick clicks', async () => {
    await page.evaluate(() => {
      for (const value of ['rocket', 'coffee', 'astronaut', 'chelsea', 'rocket', 'coffee'])
        document.querySelector<HTMLInputElement>(`input[value="${value}"]`)!.click();
    });
    await done(page, 'coffee');
    const fast = await colours(page, 'map');
    await page.locator('input[value="rocket"]').check();
    await done(page, 'rocket');
    await page.locator('input[value="coffee"]').check();
    await done(page, 'coffee');
    expect((await colours(page, 'map')).text).toBe(fast.text);
  });

  it('accepts a dropped picture and a pasted one', async () => {
    await give(page, 'drop', { ...fileOf(join(photos, 'rocket.jpg'), 'image/jpeg'), name: 'mine.jpg' });
    await done(page, 'mine.jpg');
    expect(await page.locator('#own').isVisible()).toBe(true);
    expect(await page.locator('input[value="own"]').isChecked()).toBe(true);
    expect((await colours(page, 'map')).distinct).toBeGreaterThan(100);
    await give(page, 'paste', { ...fileOf(join(photos, 'coffee.png'), 'image/png'), name: 'pasted.png' });
    await done(page, 'pasted.png');
  });

  it('shows whole pictures of other sizes', async () => {
    await page.locator('#input').selectOption('224');
    await done(page, '11 × 16'); // 600 × 400 scales to 224 × 149.3, rounded to whole patches
    const { width, height } = await colours(page, 'map');
    expect([width, height]).toEqual([16, 11]);
    const photo = await colours(page, 'photo');
    expect(photo.width / photo.height).toBe(16 / 11);
    await page.locator('#input').selectOption('crop');
    await done(page, '16 × 16');
  });

  it('overlays the foreground on the untouched photograph, crisp or smooth', async () => {
    const all = await colours(page, 'map');
    await page.locator('#foreground').check();
    await done(page, 'foreground');
    expect(await page.locator('#code').textContent()).toContain("background: 'transparent'");
    const alphas = (await pixels(page)).map(([, , , alpha]) => alpha!);
    expect([...new Set(alphas)].sort((a, b) => a - b)).toEqual([0, 255]);
    await page.locator('#foreground').uncheck();
    await expect.poll(async () => (await colours(page, 'map')).text).toBe(all.text);
    const rendering = (): Promise<string> =>
      page.locator('#map').evaluate((canvas) => getComputedStyle(canvas).imageRendering);
    await page.locator('input[value="smooth"]').check();
    expect(await rendering()).toBe('auto');
    await page.locator('input[value="crisp"]').check();
    expect(await rendering()).toBe('pixelated');
    await page.locator('#opacity').fill('40');
    expect(await page.locator('#map').evaluate((canvas) => getComputedStyle(canvas).opacity)).toBe('0.4');
    await page.locator('#opacity').fill('100');
  });

  it('shows at once what is similar to the patch under the pointer, in both pictures', async () => {
    const pca = await colours(page, 'map');
    await page.mouse.move(...(await pointOf(page, 5, 3)));
    expect(await patchColour(page, 5, 3)).toEqual(YELLOW); // a patch is most similar to itself
    expect((await colours(page, 'map')).distinct).toBeGreaterThan(50);
    expect(await text(page, 'map-caption')).toMatch(/row 6, column 4/);
    expect(await text(page, 'legend-high')).toBe('1.00');
    const frames = await page.locator('.patch').evaluateAll((all) =>
      all.map((mark) => {
        const [of, inside] = [mark.getBoundingClientRect(), mark.parentElement!.getBoundingClientRect()];
        return [(of.left - inside.left) / of.width, (of.top - inside.top) / of.width];
      }),
    );
    expect(frames).toHaveLength(2);
    for (const [col, row] of frames) {
      expect(col).toBeCloseTo(3, 1);
      expect(row).toBeCloseTo(5, 1);
    }
    const over = (await page.locator('#photo-frame').boundingBox())!;
    await page.mouse.move(over.x + (over.width / 16) * 9.5, over.y + (over.width / 16) * 2.5);
    expect(await patchColour(page, 2, 9)).toEqual(YELLOW);
    await page.mouse.move(2, 2);
    expect((await colours(page, 'map')).text).toBe(pca.text);
    expect(await page.locator('.patch').first().isVisible()).toBe(false);
  });

  it('follows the pointer without a round trip to the GPU', async () => {
    const { gpuCalls, ms } = await page.locator('#map-frame').evaluate((frame) => {
      let gpuCalls = 0;
      const { mapAsync } = GPUBuffer.prototype;
      const { submit } = GPUQueue.prototype;
      GPUBuffer.prototype.mapAsync = function (...given) {
        gpuCalls++;
        return mapAsync.apply(this, given);
      };
      GPUQueue.prototype.submit = function (...given) {
        gpuCalls++;
        return submit.apply(this, given);
      };
      const { left, top, width } = frame.getBoundingClientRect();
      const startMs = performance.now();
      for (let i = 0; i < 64; i++)
        frame.dispatchEvent(
          new PointerEvent('pointermove', {
            clientX: left + (width / 16) * ((i % 16) + 0.5),
            clientY: top + (width / 16) * (Math.floor(i / 4) + 0.5),
          }),
        );
      const ms = (performance.now() - startMs) / 64;
      frame.dispatchEvent(new PointerEvent('pointerleave'));
      Object.assign(GPUBuffer.prototype, { mapAsync });
      Object.assign(GPUQueue.prototype, { submit });
      return { gpuCalls, ms };
    });
    expect(gpuCalls).toBe(0);
    expect(ms).toBeLessThan(50); // a map is drawn before the next frame; 16 × 16 patches take about 1 ms
  });

  it('keeps a clicked patch on the tab Similarity, and moves it by keys', async () => {
    await page.mouse.click(...(await pointOf(page, 9, 12)));
    await page.mouse.move(2, 2);
    expect(await page.locator('#tab-similarity').getAttribute('aria-selected')).toBe('true');
    expect(await patchColour(page, 9, 12)).toEqual(YELLOW);
    expect(query(page)).toMatchObject({ tab: 'similarity', patch: '9,12' });
    await page.locator('#map-frame').focus();
    await page.keyboard.press('ArrowUp');
    expect(await patchColour(page, 8, 12)).toEqual(YELLOW);
    expect(await text(page, 'map-caption')).toMatch(/row 9, column 13/);
    expect(query(page)['patch']).toBe('8,12');
    expect(await page.locator('#code').textContent()).toMatch(
      /^import \{ DINOv2, PatchSimilarity \}[^]*similarity\.map\(\{ row: 8, col: 12 \}\)/,
    );
    await page.keyboard.press('Escape');
    expect(query(page)['patch']).toBeUndefined();
    expect(await patchColour(page, 8, 8)).toEqual(YELLOW); // the patch in the middle
  });

  it('shows the attention of the class token and of a patch, by head', async () => {
    await page.locator('#tab-attention').click();
    await done(page, 'Attention of the class token');
    const mean = await colours(page, 'map');
    expect(mean.distinct).toBeGreaterThan(50);
    expect(await text(page, 'map-caption')).toMatch(/mean of \d heads/);
    await page.locator('#block').selectOption('0');
    await done(page, 'block 1 of');
    expect((await colours(page, 'map')).text).not.toBe(mean.text);
    expect(query(page)['block']).toBe('0');
    await page.locator('#block').selectOption('-1');
    await page.locator('#head').selectOption('1');
    await done(page, 'head 2 of');
    expect((await colours(page, 'map')).text).not.toBe(mean.text);
    await page.mouse.click(...(await pointOf(page, 3, 4)));
    await done(page, 'row 4, column 5');
    expect(await page.locator('input[name="query"][value="patch"]').isChecked()).toBe(true);
    expect(query(page)).toMatchObject({ tab: 'attention', head: '1', query: 'patch', patch: '3,4' });
    expect(await page.locator('#code').textContent()).toContain('{ query: { row: 3, col: 4 }, head: 1 }');
    await page.locator('input[name="query"][value="cls"]').check();
    await page.locator('#head').selectOption('mean');
    await done(page, 'Attention of the class token');
    // The caption of a single head matches, too, so the map may not be drawn yet.
    await expect.poll(async () => (await colours(page, 'map')).text).toBe(mean.text);
  });

  it('separates an object from its surroundings by clicks', async () => {
    await page.locator('#tab-segments').click();
    await done(page, 'Click a part of an object');
    await page.mouse.click(...(await pointOf(page, 8, 8)));
    await done(page, 'Now click a part that does not belong');
    expect(await page.locator('input[name="click"][value="off"]').isChecked()).toBe(true);
    await page.mouse.click(...(await pointOf(page, 0, 0)));
    await done(page, 'patches belong to the object');
    expect(await page.locator('#map-frame .dot').count()).toBe(2);
    const alpha = async (row: number, col: number): Promise<number> =>
      (await patchColour(page, row, col))[3]!;
    expect(await alpha(8, 8)).toBeLessThan(40); // the object is not darkened
    expect(await alpha(0, 0)).toBeGreaterThan(180);
    const inside = Number(/^\d+/.exec(await text(page, 'map-caption'))![0]);
    expect(inside).toBeGreaterThan(0);
    expect(inside).toBeLessThan(256);
    expect(query(page)).toMatchObject({ tab: 'segments', on: '8,8', off: '0,0' });
    const coming = page.waitForEvent('download');
    await page.locator('#segmenter').click();
    const json = JSON.parse((await downloaded(await coming)).toString()) as { weights?: unknown };
    expect(json).toHaveProperty('weights');

    await page.locator('#map-frame').focus();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter'); // from the patch in the middle to the one below
    await done(page, 'patches belong to the object');
    expect(query(page)['off']).toBe('0,0;9,8');
    await page.mouse.click(...(await pointOf(page, 9, 8))); // takes the point out again
    await done(page, `${inside} of`);
    expect(query(page)['off']).toBe('0,0');

    await page.locator('input[value="chelsea"]').check();
    await done(page, 'by the clicks on pasted.png');
    await page.locator('#clear').click();
    await done(page, 'Click a part of an object in chelsea');
    expect(await page.locator('.dot').count()).toBe(0);
    await page.locator('input[value="own"]').check();
    await done(page, 'pasted.png');
    await page.locator('#tab-pca').click();
    await done(page, 'Features');
  });

  it('saves what is shown as a PNG', async () => {
    const coming = page.waitForEvent('download');
    await page.locator('#save').click();
    const download = await coming;
    expect(download.suggestedFilename()).toBe('pasted-model-safetensors-pca.png');
    const { width, height, data } = PNG.sync.read(await downloaded(download));
    expect([width, height]).toEqual([896, 896]);
    const at = ((3 * 56 + 28) * 896 + 5 * 56 + 28) * 4;
    expect([...data.subarray(at, at + 4)]).toEqual(await patchColour(page, 3, 5));
  });

  it('reports a broken picture where it is seen, and keeps working', async () => {
    const before = await colours(page, 'map');
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
    await give(page, 'drop', {
      name: '<img src=x onerror=alert(1)>.png',
      type: 'image/png',
      bytes: bytesOf('no picture at all'),
    });
    await toast(page, 'picture').waitFor();
    expect(await toast(page, 'picture').innerText()).toMatch(
      /^The picture could not be opened\.\s+IMAGE_DECODE/,
    );
    const { y, height } = (await toast(page, 'picture').boundingBox())!;
    expect(y).toBeGreaterThan(0);
    expect(y + height).toBeLessThanOrEqual(800);
    expect((await colours(page, 'map')).text).toBe(before.text);
    expect(await page.locator('input[value="own"]').isChecked()).toBe(true);
    expect(await page.locator('img[src="x"]').count()).toBe(0);
    await toast(page, 'picture').getByRole('button', { name: 'Dismiss' }).click();
    expect(await toast(page, 'picture').count()).toBe(0);
    await page.locator('input[value="astronaut"]').check();
    await done(page, 'astronaut');
  });

  it('reports what is wrong with broken weights, and keeps the model', async () => {
    const { bytes } = fileOf(join(tiny, 'model.safetensors'));
    await give(page, 'drop', { name: 'cut.safetensors', bytes: bytes.subarray(0, 200_000) });
    await toast(page, 'model').waitFor();
    expect(await toast(page, 'model').innerText()).toMatch(
      /^cut\.safetensors could not be loaded\.\s+(DATA_TRUNCATED|SIZE_MISMATCH|SOURCE_TRUNCATED)/,
    );
    await give(page, 'drop', { name: 'words.safetensors', bytes: bytesOf('not weights') });
    await expect.poll(() => toast(page, 'model').innerText()).toMatch(/HEADER_|FILE_TOO_SMALL/);
    await toast(page, 'model').getByRole('button', { name: 'Dismiss' }).click();
    expect(await text(page, 'model-name')).toBe('model.safetensors');
    await page.locator('input[value="rocket"]').check();
    await done(page, 'rocket');
    expect((await colours(page, 'map')).distinct).toBeGreaterThan(100);
  });

  it('makes no request to another origin, and logs no error', () => {
    expect(
      watched.requests.filter((url) => !url.startsWith(site.origin) && !url.startsWith('blob:')),
    ).toEqual([]);
    expect(watched.complaints).toEqual([]);
  });
});

describe('a link to a state', () => {
  let page: Page;
  beforeAll(async () => {
    ({ page } = await openTiny(site, undefined, 'demo/?photo=chelsea&tab=similarity&input=224&patch=2,3'));
  });
  afterAll(() => page.context().close());

  it('opens the picture, the tab, the size and the patch', async () => {
    await done(page, 'row 3, column 4');
    expect(await page.locator('input[value="chelsea"]').isChecked()).toBe(true);
    expect(await page.locator('#tab-similarity').getAttribute('aria-selected')).toBe('true');
    expect(await page.locator('#input').inputValue()).toBe('224');
    expect(await patchColour(page, 2, 3)).toEqual(YELLOW);
    const { width, height } = await colours(page, 'map');
    expect([width, height]).toEqual([16, 11]);
  });

  it('ignores what the page does not know, and markup', async () => {
    await page.goto(`${site.origin}/demo/?photo=<img>&tab=none&input=9&patch=a,b&head=x`);
    await page.locator('#model-line[data-state="loading"], #model-line[data-state="loaded"]').waitFor();
    expect(await page.locator('input[value="coffee"]').isChecked()).toBe(true);
    expect(await page.locator('#tab-pca').getAttribute('aria-selected')).toBe('true');
    expect(await page.locator('#input').inputValue()).toBe('crop');
  });
});
