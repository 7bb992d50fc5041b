/**
 * The page Live, used as by a visitor: the example, a camera, a video file, the four tabs, a still, stopping.
 * This file starts its own Chromium, which has a fake camera.
 */
import { AxeBuilder } from '@axe-core/playwright';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Browser, type Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chromiumArgs, fontsFile } from '../../scripts/software-gpu.mjs';
import { correctEvaluate } from '../evaluate.ts';
import { recordVideo } from '../recordVideo.ts';
import { click, frames, pixelsOf, still, watchReads } from './livePage.js';
import { done, give, openPage, openSite, openTiny, shiftsOf, toast, watchShifts, type Site } from './site.js';

let site: Site;
let browser: Browser;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'chromium-'));
  const executablePath = process.env['CHROMIUM_PATH']!;
  const opened = await openSite();
  browser = await chromium.launch({
    executablePath,
    args: [...chromiumArgs, '--use-fake-device-for-media-stream'],
    env: { ...(process.env as Record<string, string>), FONTCONFIG_FILE: fontsFile(folder, executablePath) },
  });
  browser.on('context', correctEvaluate);
  site = { ...opened, browser };
});
afterAll(async () => {
  await browser?.close();
  await site?.close();
  rmSync(folder, { recursive: true, force: true });
});

const text = (page: Page, id: string): Promise<string> => page.locator(`#${id}`).innerText();

async function violations(page: Page): Promise<string[]> {
  const { violations: found } = await new AxeBuilder({ page }).analyze();
  return found.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary}`),
  );
}

describe('with the example', () => {
  let page: Page;
  let complaints: string[];
  beforeAll(async () => {
    ({ page, complaints } = await openTiny(
      site,
      async (fresh) => {
        await watchShifts(fresh);
        await watchReads(fresh);
      },
      'demo/live/',
    ));
  });
  afterAll(() => page.context().close());

  it('shows features without a click and without a layout shift, and asks for no camera', async () => {
    await frames(page, 3);
    expect(await text(page, 'grid')).toBe('6 × 8 (112 × 84 px)');
    await expect.poll(() => text(page, 'dropped')).toMatch(/^\d+ of \d+$/);
    await expect.poll(() => text(page, 'fps')).toMatch(/^\d/);
    expect(await page.locator('#video').evaluate((video: HTMLVideoElement) => video.videoWidth)).toBe(640);
    const { sum, moved } = await shiftsOf(page);
    expect(sum, moved).toBeLessThanOrEqual(0.02);
    expect(complaints.filter((each) => !each.includes('not this time'))).toEqual([]);
  });

  it('reads nothing back between a frame and the canvas', async () => {
    await page.evaluate(() => void ((globalThis as unknown as { reads: string[] }).reads.length = 0));
    await frames(page, 8);
    expect(await page.evaluate(() => (globalThis as unknown as { reads: string[] }).reads)).toEqual([]);
  });

  it('draws colours over the frame, as much as the slider says, and the still shows the same', async () => {
    await page.locator('#toggle').click(); // the pictures stay the same while they are compared
    await page.waitForTimeout(300);
    const shot = await pixelsOf(page, await page.locator('#map-frame').screenshot());
    const { name, pixels } = await still(page);
    expect(name).toBe('live-example-model-safetensors-pca.png');
    expect([pixels.width, pixels.height]).toEqual([640, 480]);
    for (const [x, y] of [
      [0.3, 0.3],
      [0.5, 0.5],
      [0.7, 0.6],
    ] as const)
      expect(Math.abs(pixels.at(x, y) - shot.at(x, y))).toBeLessThan(12);
    await page.locator('#opacity').fill('0');
    const bare = await pixelsOf(page, await page.locator('#map-frame').screenshot());
    const differences = [0.2, 0.4, 0.6, 0.8].map((at) => Math.abs(bare.at(at, at) - shot.at(at, at)));
    expect(Math.max(...differences)).toBeGreaterThan(10);
    await page.locator('#opacity').fill('80');
    await page.locator('#crisp').check();
    const crisp = await pixelsOf(page, await page.locator('#map-frame').screenshot());
    expect(crisp.at(0.5, 0.5)).not.toBe(shot.at(0.5, 0.5));
    await page.locator('#crisp').uncheck();
  });

  it('stays still while it is stopped, and goes on after Start', async () => {
    const drawn = (): Promise<number> =>
      page.evaluate(() => (globalThis as unknown as { drawn: number }).drawn);
    const before = await drawn();
    await page.waitForTimeout(400);
    expect(await drawn()).toBe(before);
    expect(await text(page, 'toggle-text')).toBe('Start');
    expect(await text(page, 'video-caption')).toContain('stopped');
    await page.locator('#toggle').click();
    await frames(page, 2);
  });

  it('pauses while the tab is hidden', async () => {
    const hide = (hidden: boolean): Promise<void> =>
      page.evaluate((is) => {
        Object.defineProperty(document, 'hidden', { value: is, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
      }, hidden);
    const drawn = (): Promise<number> =>
      page.evaluate(() => (globalThis as unknown as { drawn: number }).drawn);
    await hide(true);
    await page.waitForTimeout(300);
    const before = await drawn();
    await page.waitForTimeout(300);
    expect(await drawn()).toBe(before);
    await hide(false);
    await frames(page, 2);
  });

  it('keeps the colours until they are fitted again', async () => {
    await page.evaluate(() => void ((globalThis as unknown as { reads: string[] }).reads.length = 0));
    await page.locator('#fit').click();
    await expect
      .poll(() => page.evaluate(() => (globalThis as unknown as { reads: string[] }).reads.length))
      .toBeGreaterThan(0); // the fit reads the patches once
    await frames(page, 2);
  });

  it('shows the similarity to the middle at first, then to what was clicked, and to several', async () => {
    await page.locator('#tab-similarity').click();
    await done(page, 'Cosine similarity');
    await expect.poll(() => page.url()).toContain('on=50,50');
    await click(page, 0.25, 0.3);
    await expect.poll(() => page.url()).toContain('on=25,30');
    expect(await page.locator('#picks canvas').count()).toBe(1);
    expect(await page.locator('#code').textContent()).toContain('read.vector({ row: 1, col: 2 })');
    expect(await text(page, 'legend-high')).toBe('1.00');
    await page.locator('#several').check();
    await click(page, 0.75, 0.6);
    await done(page, 'mean of 2 picked patches');
    expect(await page.locator('#picks canvas').count()).toBe(2);
    await page.locator('#several').uncheck();
    await page.locator('#map-frame').focus();
    await page.keyboard.press('ArrowRight');
    expect(await page.locator('#cursor').isVisible()).toBe(true);
    await page.keyboard.press('Enter');
    await expect.poll(() => page.url()).toContain('on=69,58');
    await page.keyboard.press('Escape');
    expect(await page.locator('#cursor').isVisible()).toBe(false);
  });

  it('segments from two clicks: what was clicked stays brighter than what was excluded', async () => {
    await page.locator('#toggle').click();
    await page.locator('#tab-segments').click();
    await expect.poll(() => text(page, 'map-status')).toContain('Click a part of an object');
    const bare = (await still(page)).pixels;
    await click(page, 0.55, 0.45);
    await expect.poll(() => text(page, 'map-status')).toContain('Now click a part that does not');
    expect(await page.locator('input[name="click"][value="off"]').isChecked()).toBe(true);
    await click(page, 0.1, 0.1);
    await done(page, 'stays bright');
    const { pixels } = await still(page);
    const left = (x: number, y: number): number => pixels.at(x, y) / bare.at(x, y);
    expect(left(0.55, 0.45)).toBeGreaterThan(left(0.1, 0.1) + 0.1);
    expect(page.url()).toMatch(/tab=segments.*on=55,45&off=10,10/);
    await page.locator('#toggle').click();
    await frames(page, 2); // the segmenter works for the next frames
    expect(await text(page, 'map-caption')).toContain('stays bright');
  });

  it('takes a click on the running video for the frame that the video shows', async () => {
    await page.locator('#tab-tracking').click();
    const box = (await page.locator('#video-frame').boundingBox())!;
    await page.locator('#video-frame').click({ position: { x: 0.5 * box.width, y: 0.5 * box.height } });
    await done(page, 'stays bright while it moves');
    await frames(page, 3);
    const { pixels } = await still(page);
    expect(pixels.at(0.5, 0.5)).toBeGreaterThan(pixels.at(0.95, 0.95));
    expect(page.url()).toContain('on=50,50');
    const code = await page.locator('#code').textContent();
    expect(code).toContain('DINOv2.fromFiles({ weights: file })');
    // The point is on the border of four patches.
    expect(code).toMatch(/mask: \{ row: [23], col: [34], rows: 1, cols: 1 \}/);
    await page.locator('#side').selectOption('224');
    await expect.poll(() => text(page, 'grid')).toBe('12 × 16 (224 × 168 px)');
    await expect.poll(() => text(page, 'map-status')).toContain('The number of patches changed');
    expect(await page.locator('#code').textContent()).not.toContain('mask');
    await page.locator('#side').selectOption('112');
  });

  it.each(['light', 'dark'] as const)('has no axe violations on any tab in %s mode', async (colorScheme) => {
    await page.emulateMedia({ colorScheme });
    await page.locator('#toggle').click(); // axe is slow while the processor emulates a GPU
    for (const tab of await page.getByRole('tab').all()) {
      await tab.click();
      expect(await violations(page)).toEqual([]);
    }
    await page.locator('#toggle').click();
    await page.emulateMedia({ colorScheme: 'light' });
  });

  it.each([
    [390, 844],
    [1024, 768],
    [1440, 900],
  ])('shows the pictures and the sources on the first screen of %i × %i', async (width, height) => {
    await page.setViewportSize({ width, height });
    await page.evaluate(() => scrollTo(0, 0));
    const bottoms = await page
      .locator('#map-frame, #camera, #toggle, #fps')
      .evaluateAll((all) => all.map((each) => each.getBoundingClientRect().bottom));
    expect(Math.max(...bottoms)).toBeLessThanOrEqual(height);
    for (const tab of await page.getByRole('tab').all()) {
      await tab.click();
      expect(
        await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        ),
      ).toBe(0);
    }
  });

  it('has controls of at least 44 pixels on a phone', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    const small = await page
      .locator('main button:visible, main select:visible, .check:visible')
      .evaluateAll((all) =>
        all
          .filter((each) => each.getBoundingClientRect().height < 44)
          .map((each) => each.id || each.textContent),
      );
    expect(small).toEqual([]);
  });

  // On a phone the page shows only the features, and the video has 2 × 2 pixels.
  it('plays a video file that is dropped, and says why another file cannot be played', async () => {
    const bytes = await recordVideo(page, 320, 180);
    await give(page, 'drop', { name: 'broken.mp4', type: 'video/mp4', bytes: new Uint8Array(64) });
    await toast(page, 'file').waitFor();
    expect(await toast(page, 'file').innerText()).toMatch(/broken\.mp4 could not be played[^]*cannot play/);
    expect(await page.locator('#example').getAttribute('aria-pressed')).toBe('true');
    await give(page, 'drop', { name: 'squares.webm', type: 'video/webm', bytes });
    await expect.poll(() => text(page, 'video-caption')).toContain('squares.webm');
    await expect.poll(() => text(page, 'grid')).toBe('5 × 8 (112 × 70 px)');
    await frames(page, 2);
    expect(await toast(page, 'file').count()).toBe(0);
  });

  it.each([
    ['NotAllowedError', /denied access to the camera/],
    ['NotFoundError', /There is no camera/],
    ['NotReadableError', /The camera is busy/],
  ])('says in plain words that the camera failed: %s', async (name, words) => {
    await page.evaluate((which) => {
      MediaDevices.prototype.getUserMedia = () =>
        Promise.reject(new DOMException('told by the browser', which));
    }, name);
    await page.locator('#camera').click();
    await expect.poll(() => toast(page, 'camera').innerText()).toMatch(words);
    expect(await toast(page, 'camera').innerText()).toMatch(/The camera could not be used/);
    expect(await page.locator('#file').getAttribute('aria-pressed')).toBe('true'); // the last source goes on
  });
});

describe('with a camera', () => {
  let page: Page;
  beforeAll(async () => {
    ({ page } = await openTiny(
      site,
      async (fresh) => {
        await fresh.context().grantPermissions(['camera']);
        await watchReads(fresh);
      },
      'demo/live/?tab=tracking&on=40,60&side=224&opacity=60',
    ));
  });
  afterAll(() => page.context().close());

  it('opens the state of a link: the tab, the pick, the size, the opacity', async () => {
    await done(page, 'stays bright while it moves');
    expect(await page.locator('#tab-tracking').getAttribute('aria-selected')).toBe('true');
    expect(await page.locator('#picks canvas').count()).toBe(1);
    expect(await page.locator('#opacity').inputValue()).toBe('60');
    await expect.poll(() => text(page, 'grid')).toBe('12 × 16 (224 × 168 px)');
    expect(page.url()).toMatch(/tab=tracking.*side=224.*opacity=60.*on=40,60/);
  });

  it('runs on the camera after a click, as in a mirror, and releases it with Stop', async () => {
    await page.locator('#tab-pca').click();
    await page.evaluate(() => {
      const { getUserMedia } = MediaDevices.prototype;
      MediaDevices.prototype.getUserMedia = async function (constraints) {
        const stream = await getUserMedia.call(this, constraints);
        Object.assign(globalThis, { track: stream.getVideoTracks()[0] });
        return stream;
      };
    });
    const state = (): Promise<string> =>
      page.evaluate(() => (globalThis as unknown as { track: MediaStreamTrack }).track.readyState);
    await page.locator('#camera').click();
    await expect.poll(() => text(page, 'video-caption')).toContain('Camera');
    await done(page, 'Three principal components');
    await frames(page, 3);
    expect(await state()).toBe('live');
    expect(await page.locator('#mirror').isChecked()).toBe(true);
    const { pixels } = await still(page);
    expect(pixels.distinct).toBeGreaterThan(100);
    await page.locator('#toggle').click();
    expect(await state()).toBe('ended');
    await page.locator('#toggle').click();
    await expect.poll(state).toBe('live');
    await frames(page, 2);
    await page.locator('#example').click();
    await expect.poll(state).toBe('ended');
    expect(await page.locator('#mirror').isChecked()).toBe(false);
    await frames(page, 2);
  });
});

it('says without WebGPU what is missing', async () => {
  const { page } = await openPage(
    site,
    (fresh) => fresh.addInitScript(() => void Reflect.deleteProperty(Navigator.prototype, 'gpu')),
    'demo/live/',
  );
  await page.locator('#unsupported').waitFor();
  expect(await page.locator('#unsupported').innerText()).toMatch(/WebGPU[^]*Chrome or Edge 113/);
  expect(await page.locator('.stage').isVisible()).toBe(false);
  const widths = await page.locator('#unsupported img').evaluateAll((all) =>
    Promise.all(
      all.map(async (each) => {
        const image = each as HTMLImageElement;
        image.loading = 'eager';
        await image.decode();
        return image.naturalWidth;
      }),
    ),
  );
  expect(widths).toEqual([1030, 1030, 1030]);
  expect(await violations(page)).toEqual([]);
  await page.context().close();
});
