/**
 * The built demo in a real Chromium, used as by a visitor. The tests of a block share one page and run in
 * order.
 */
import { join } from 'node:path';
import { PNG } from 'pngjs';
import type { Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  colours,
  done,
  downloaded,
  fileOf,
  give,
  loadTiny,
  notice,
  openPage,
  openSite,
  root,
  tiny,
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
    watched = await openPage(site);
    page = watched.page;
  });
  afterAll(() => page.context().close());

  it('loads a model at once, and labels its weights as untrained', async () => {
    await done(page, 'coffee');
    expect(await page.locator('#untrained').innerText()).toMatch(/not trained/);
    expect(await text(page, 'running')).toMatch(/^ViT-S: 22\.1 M parameters/);
    expect(await text(page, 'adapter')).not.toBe('–');
    expect(await text(page, 'grid')).toBe('16 × 16');
    expect(await text(page, 'tokens')).toBe('257');
    await expect.poll(async () => Number(await text(page, 'dispatches'))).toBeGreaterThan(12); // the plan appears after the picture
    expect(await text(page, 'forward')).toMatch(/\d (ms|s)$/);
    expect(await text(page, 'memory')).toMatch(/MB$/);
    expect(await text(page, 'load-time')).toMatch(/\d (ms|s)$/);
    expect((await page.locator('#plan').textContent())!.split('\n').length).toBeGreaterThan(12);
    expect(await page.locator('#code').textContent()).toContain("DINOv2.synthetic('small')");
  });

  it('draws varied features, and the photograph', async () => {
    const pca = await colours(page, 'pca');
    expect([pca.width, pca.height]).toEqual([16, 16]);
    expect(pca.distinct).toBeGreaterThan(100);
    expect((await colours(page, 'photo')).distinct).toBeGreaterThan(1000);
  });

  it('loads weights from a dropped file', async () => {
    const before = await colours(page, 'pca');
    await loadTiny(page);
    expect(await text(page, 'running')).toMatch(/^From the file: \d+ thousand parameters/);
    expect(await page.locator('#untrained').isVisible()).toBe(false);
    const after = await colours(page, 'pca');
    expect(after.distinct).toBeGreaterThan(100);
    expect(after.text).not.toBe(before.text);
  });

  it('draws another picture for another photograph, and the same picture for the same one', async () => {
    const coffee = await colours(page, 'pca');
    await page.locator('input[value="chelsea"]').check();
    await done(page, 'chelsea');
    expect((await colours(page, 'pca')).text).not.toBe(coffee.text);
    await page.locator('input[value="coffee"]').check();
    await done(page, 'coffee');
    expect((await colours(page, 'pca')).text).toBe(coffee.text);
  });

  it('works with the keyboard: arrows through the samples, space on a checkbox', async () => {
    await page.locator('input[value="coffee"]').focus();
    await page.keyboard.press('ArrowRight');
    await done(page, 'chelsea');
    await page.locator('input[name="weights"]:checked').focus();
    await page.keyboard.press('ArrowUp');
    await page.keyboard.press('ArrowUp');
    expect(await text(page, 'load')).toBe('Load ViT-S, synthetic');
    await page.locator('#registers').focus();
    expect(await page.locator('#registers').evaluate((box) => getComputedStyle(box).outlineStyle)).toBe(
      'solid',
    );
    await page.keyboard.press('Space');
    expect(await text(page, 'load')).toBe('Load ViT-S with registers, synthetic');
    expect(await text(page, 'running-weights')).toMatch(/^model\.safetensors/); // choosing a model does not load it
    await page.locator('input[value="file"]').check();
    expect(await text(page, 'load')).toBe('This model is loaded');
  });

  it('shows the last sample after many quick clicks', async () => {
    await page.evaluate(() => {
      for (const value of ['rocket', 'coffee', 'astronaut', 'chelsea', 'rocket', 'coffee'])
        document.querySelector<HTMLInputElement>(`input[value="${value}"]`)!.click();
    });
    await done(page, 'coffee');
    const fast = await colours(page, 'pca');
    await page.locator('input[value="rocket"]').check();
    await done(page, 'rocket');
    await page.locator('input[value="coffee"]').check();
    await done(page, 'coffee');
    expect((await colours(page, 'pca')).text).toBe(fast.text);
  });

  it('accepts a dropped picture and a pasted one', async () => {
    await give(page, 'drop', { ...fileOf(join(photos, 'rocket.jpg'), 'image/jpeg'), name: 'mine.jpg' });
    await done(page, 'mine.jpg');
    expect(await page.locator('#own').isVisible()).toBe(true);
    expect(await page.locator('input[value="own"]').isChecked()).toBe(true);
    expect((await colours(page, 'pca')).distinct).toBeGreaterThan(100);
    await give(page, 'paste', { ...fileOf(join(photos, 'coffee.png'), 'image/png'), name: 'pasted.png' });
    await done(page, 'pasted.png');
  });

  it('shows uncropped pictures of other sizes', async () => {
    await page.locator('input[name="input"][value="224"]').check();
    await page.locator('#grid', { hasText: '11 × 16' }).waitFor(); // 600 × 400 scales to 224 × 149.3, rounded to whole patches
    await done(page);
    const { width, height } = await colours(page, 'pca');
    expect([width, height]).toEqual([16, 11]);
    const photo = await colours(page, 'photo');
    expect(photo.width / photo.height).toBe(16 / 11);
    await page.locator('input[name="input"][value="crop"]').check();
    await page.locator('#grid', { hasText: '16 × 16' }).waitFor();
    await done(page);
  });

  it('overlays the foreground on the photograph, crisp or smooth', async () => {
    const all = await colours(page, 'pca');
    await page.locator('#foreground').check();
    await page.waitForFunction(() => document.querySelector('#code')!.textContent!.includes("'auto'"));
    await done(page);
    await expect.poll(async () => (await colours(page, 'pca')).text).not.toBe(all.text);
    await page.locator('#foreground').uncheck();
    await expect.poll(async () => (await colours(page, 'pca')).text).toBe(all.text);
    await page.locator('input[value="smooth"]').check();
    expect(await page.locator('#pca').evaluate((canvas) => getComputedStyle(canvas).imageRendering)).toBe(
      'auto',
    );
    await page.locator('input[value="crisp"]').check();
    expect(await page.locator('#pca').evaluate((canvas) => getComputedStyle(canvas).imageRendering)).toBe(
      'pixelated',
    );
    await page.locator('#opacity').fill('40');
    await expect
      .poll(() => page.locator('#pca').evaluate((canvas) => getComputedStyle(canvas).opacity))
      .toBe('0.4');
    expect(await text(page, 'opacity-value')).toBe('40 %');
    await page.locator('#opacity').fill('100');
  });

  it('frames the patch under the pointer in both pictures', async () => {
    const box = (await page.locator('#pca').boundingBox())!;
    await page.mouse.move(box.x + (box.width / 16) * 3.5, box.y + (box.width / 16) * 5.5);
    const marks = await page.locator('.patch').evaluateAll((all) =>
      all.map((mark) => ({
        hidden: (mark as HTMLElement).hidden,
        left: mark.getBoundingClientRect().left - mark.parentElement!.getBoundingClientRect().left,
      })),
    );
    expect(marks).toHaveLength(2);
    for (const { hidden, left } of marks) {
      expect(hidden).toBe(false);
      expect(left).toBeCloseTo((box.width / 16) * 3, 0);
    }
    await page.mouse.move(2, 2);
    expect(await page.locator('.patch').first().isVisible()).toBe(false);
  });

  it('shows the similarity to the patch under the pointer, to a pinned patch, and to one chosen by keys', async () => {
    const patchColour = (row: number, col: number): Promise<number[]> =>
      page.locator('#similarity').evaluate(
        (canvas, [y, x]) => {
          const copy = new OffscreenCanvas(1, 1).getContext('2d')!;
          copy.drawImage(canvas as HTMLCanvasElement, -x, -y);
          return Array.from(copy.getImageData(0, 0, 1, 1).data);
        },
        [row, col] as const,
      );
    const shown = (): Promise<boolean> => page.locator('#similarity').isVisible();
    const mostSimilar = [253, 231, 37, 255]; // a patch is most similar to itself
    const box = (await page.locator('#pca').boundingBox())!;
    const pointAt = (row: number, col: number): Promise<void> =>
      page.mouse.move(box.x + (box.width / 16) * (col + 0.5), box.y + (box.width / 16) * (row + 0.5));
    expect(await shown()).toBe(false);
    await pointAt(5, 3);
    expect(await shown()).toBe(true);
    expect(await patchColour(5, 3)).toEqual(mostSimilar);
    expect((await colours(page, 'similarity')).distinct).toBeGreaterThan(50);
    expect(await text(page, 'similarity-hint')).toMatch(/row 6, column 4/);
    await page.mouse.move(2, 2);
    expect(await shown()).toBe(false);

    await pointAt(9, 12);
    await page.mouse.down();
    await page.mouse.up();
    await page.mouse.move(2, 2);
    expect(await shown()).toBe(true);
    expect(await patchColour(9, 12)).toEqual(mostSimilar);
    await page.locator('#pca-frame').focus();
    await page.keyboard.press('ArrowUp');
    expect(await patchColour(8, 12)).toEqual(mostSimilar);
    expect(await text(page, 'similarity-hint')).toMatch(/row 9, column 13/);
    await page.keyboard.press('Escape');
    expect(await shown()).toBe(false);
  });

  it('saves the picture as a PNG', async () => {
    const coming = page.waitForEvent('download');
    await page.locator('#save').click();
    const download = await coming;
    expect(download.suggestedFilename()).toBe('pasted-model-safetensors-pca.png');
    const { width, height, data } = PNG.sync.read(await downloaded(download));
    expect([width, height]).toEqual([896, 896]);
    const [red, green, blue] = await page.evaluate(() => [
      ...document.querySelector<HTMLCanvasElement>('#pca')!.getContext('2d')!.getImageData(5, 3, 1, 1).data,
    ]);
    const at = ((3 * 56 + 28) * 896 + 5 * 56 + 28) * 4;
    expect([data[at], data[at + 1], data[at + 2]]).toEqual([red, green, blue]);
  });

  it('times the forward again', async () => {
    await page.locator('#measure').click();
    await page.locator('#forward-label', { hasText: 'median of' }).waitFor();
    expect(await text(page, 'forward')).toMatch(/\d (ms|s)$/);
  });

  it('reports why a broken picture cannot be used, and keeps working', async () => {
    const before = await colours(page, 'pca');
    await give(page, 'drop', {
      name: '<img src=x onerror=alert(1)>.png',
      type: 'image/png',
      bytes: bytesOf('no picture at all'),
    });
    await notice(page, 'picture').waitFor();
    expect(await notice(page, 'picture').innerText()).toMatch(/IMAGE_DECODE/);
    expect((await colours(page, 'pca')).text).toBe(before.text);
    expect(await page.locator('input[value="own"]').isChecked()).toBe(true);
    expect(await page.locator('img[src="x"]').count()).toBe(0);
    await notice(page, 'picture').getByRole('button', { name: 'Dismiss' }).click();
    expect(await notice(page, 'picture').count()).toBe(0);
    await page.locator('input[value="astronaut"]').check();
    await done(page, 'astronaut');
  });

  it('reports what is wrong with broken weights, and keeps the model', async () => {
    const { bytes } = fileOf(join(tiny, 'model.safetensors'));
    await give(page, 'drop', { name: 'cut.safetensors', bytes: bytes.subarray(0, 200_000) });
    await notice(page, 'model').waitFor();
    expect(await notice(page, 'model').innerText()).toMatch(/DATA_TRUNCATED|SIZE_MISMATCH|SOURCE_TRUNCATED/);
    await give(page, 'drop', { name: 'words.safetensors', bytes: bytesOf('not weights') });
    await expect.poll(() => notice(page, 'model').innerText()).toMatch(/HEADER_|FILE_TOO_SMALL/);
    await notice(page, 'model').getByRole('button', { name: 'Dismiss' }).click();
    expect(await text(page, 'running-weights')).toMatch(/^model\.safetensors/);
    await page.locator('input[value="rocket"]').check();
    await done(page, 'rocket');
    expect((await colours(page, 'pca')).distinct).toBeGreaterThan(100);
  });

  it('makes no request to another origin, and logs no error', () => {
    expect(
      watched.requests.filter((url) => !url.startsWith(site.origin) && !url.startsWith('blob:')),
    ).toEqual([]);
    expect(watched.complaints).toEqual([]);
  });
});
