// The main paths of the demo's pages in Firefox, with an untrained ViT-S. Run with `npm run test:firefox`.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openFirefox, type Firefox } from './browser.ts';

/** Firefox on a software adapter compiles kernels for seconds. */
const PATIENCE_MS = 120_000;

let firefox: Firefox;
beforeAll(async () => void (firefox = await openFirefox('/demo/runs/')));
afterAll(() => firefox?.close());

/** Opens a page, which loads a ViT-S without training. */
async function open(path: string): Promise<void> {
  const { page, origin } = firefox;
  await page.setViewport({ width: 1280, height: 800 });
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto(new URL(path, origin).href);
}

/** Returns the number of different colours of a canvas. */
const colours = (id: string): Promise<number> =>
  firefox.page.evaluate((which) => {
    const canvas = document.querySelector<HTMLCanvasElement>(`#${which}`)!;
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d')!;
    copy.drawImage(canvas, 0, 0);
    return new Set(new Uint32Array(copy.getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size;
  }, id);

test(
  'What runs: the plan, and the time of each kernel',
  async () => {
    await open('/demo/runs/?px=112');
    const { page } = firefox;
    await page.waitForSelector('#facts dt');
    await page.click('#measure');
    await page.waitForFunction(() => /takes/.test(document.querySelector('#status')!.textContent!));
    const times = await page.$$eval('#kernels td:nth-child(3)', (cells) =>
      cells.map(({ textContent }) => textContent),
    );
    expect(times.length).toBeGreaterThanOrEqual(6);
    expect(times.every((time) => /^[\d.]+ m?s$/.test(time!))).toBe(true);
  },
  PATIENCE_MS,
);

test(
  'Explore: features as colours, and the similarity under the pointer',
  async () => {
    await open('/demo/?photo=coffee&input=crop');
    const { page } = firefox;
    await page.waitForFunction(
      () =>
        document.querySelector('#map-frame')!.getAttribute('aria-busy') === 'false' &&
        !document.querySelector<HTMLElement>('#map')!.hidden,
    );
    expect(await colours('map')).toBeGreaterThan(100);
    const frame = await (await page.$('#map-frame'))!.boundingBox();
    await page.mouse.move(frame!.x + frame!.width / 2, frame!.y + frame!.height / 2);
    await page.waitForFunction(() => /imilar/.test(document.querySelector('#map-caption')!.textContent!));
    expect(await colours('map')).toBeGreaterThan(50);
  },
  PATIENCE_MS,
);

test(
  'Compare: lines between patches that match',
  async () => {
    await open('/demo/compare/');
    const { page } = firefox;
    await page.waitForFunction(() => /mutual matches/.test(document.querySelector('#caption')!.textContent!));
    expect(await page.$$eval('#lines *', (all) => all.length)).toBeGreaterThan(10);
  },
  PATIENCE_MS,
);

test(
  'Live: frames of the example as colours',
  async () => {
    await open('/demo/live/?side=112');
    // A canvas with a 'webgpu' context can be read only while it is drawn, so the page's own counter is read.
    await firefox.page.waitForFunction(() => Number(document.querySelector('#fps')!.textContent) > 0);
    expect(await firefox.page.$('.toast.error')).toBeNull();
  },
  PATIENCE_MS,
);
