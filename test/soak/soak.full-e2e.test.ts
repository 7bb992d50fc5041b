// Long runs in Chromium: loads and disposals, forward passes, and live video of a fake camera, in the page and in a
// worker. Nothing may grow: the live GPU buffers, their bytes, the textures, and the JavaScript heaps.
//
// `.ci/run` takes about eight minutes, `npm run test:long` about an hour and a half. SOAK_MINUTES sets the duration of
// the two live videos together, which run at the same time.
//
// Flat means: after each round, exactly the same GPU buffers, bytes and textures as after the first round, while no
// call runs; and a heap that grows by less than 64 bytes a call, beside NOISE_BYTES, between the third and the last
// quarter of the run. What a leak keeps is larger: an entry of a Map with a closure takes about 100 bytes, the features
// of an image 1 kB, a model more than 20 kB.
import { chromium, type Browser, type Page } from 'playwright';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { chromiumArgs } from '../../scripts/software-gpu.mjs';
import { long } from '../full.ts';
import { openWorkerSite, type Globals, type PageModel, type WorkerSite } from '../worker/site.ts';
import { COUNTING, growthOf, Heaps, type Held } from './page.ts';

const LOADS = long ? 4000 : 300;
/** Each takes seconds on a software adapter, which compiles all kernels again. */
const LOADS_ON_NEW_DEVICES = long ? 400 : 40;
const FORWARDS = long ? 40_000 : 3000;
/** Number of measurements of a run. */
const ROUNDS = 20;
/** The long run takes longer on a busy machine. */
const TIMEOUT_MS = long ? 7_200_000 : 1_200_000;
const LIVE_MINUTES = Number(process.env['SOAK_MINUTES'] ?? (long ? 120 : 10));
const BYTES_PER_CALL = 64;
/** Runs JavaScript without V8's compilers. Their code is in the heap, and some of it is made late in a run. */
const INTERPRETED = '--js-flags=--no-sparkplug --no-maglev --no-turbofan';
/** The engine's own bookkeeping. */
const NOISE_BYTES = 16 * 1024;

interface SoakGlobals extends Globals {
  readonly held: Held;
  model: (Omit<PageModel, 'gpuBytes'> & { readonly gpuBytes: number | Promise<number> }) | undefined;
  live: { readonly finished: Promise<void>; readonly framesIn: number; stop(): void };
  frames: number;
}

let site: WorkerSite;
let browser: Browser;
const unhandled: string[] = [];
beforeAll(async () => {
  site = await openWorkerSite(async () => {
    browser = await chromium.launch({
      executablePath: process.env['CHROMIUM_PATH']!,
      args: [...chromiumArgs, INTERPRETED],
    });
    return browser;
  });
});
afterAll(async () => {
  await site.close();
  expect(unhandled).toEqual([]);
});

async function open(): Promise<{ page: Page; heaps: Heaps }> {
  const context = await browser.newContext({ permissions: ['camera'] });
  const page = await context.newPage();
  page.on('pageerror', (error) => unhandled.push(String(error)));
  const heaps = await Heaps.open(page);
  await page.addInitScript(COUNTING);
  await page.goto(site.url);
  await page.waitForFunction(() => 'worker' in globalThis);
  return { page, heaps };
}

/** Checks the series of a run of `calls` calls, and prints them. */
function expectFlat(name: string, calls: number, held: readonly Held[], heaps: readonly number[][]): void {
  const growths = heaps[0]!.map((_, place) => growthOf(heaps.map((used) => used[place]!)));
  const kilobytes = heaps.map((used) => used.map((bytes) => (bytes / 1024).toFixed(0)).join('+'));
  console.log(
    `${name}: ${calls} calls; GPU ${JSON.stringify(held.at(-1))}; heap in kB ${kilobytes.join(' ')}; growth ${growths.join(' and ')} bytes`,
  );
  for (const each of held) expect(each).toEqual(held[0]);
  for (const growth of growths) expect(growth).toBeLessThan(NOISE_BYTES + (BYTES_PER_CALL * calls) / 4);
}

test.each([
  ['on the device of another model', true, LOADS],
  ['on a new device each', false, LOADS_ON_NEW_DEVICES],
])('loads and disposals %s', { timeout: TIMEOUT_MS }, async (name, kept, loads) => {
  const { page, heaps } = await open();
  if (kept)
    await page.evaluate(async () => {
      const { library } = globalThis as unknown as SoakGlobals;
      Object.assign(globalThis, {
        model: await library.DINOv2.fromPretrained('/weights/', { selfTest: false }),
      });
    });
  const held: Held[] = [];
  const used: number[][] = [];
  const rounds = Math.min(ROUNDS, loads);
  for (let round = 0; round < rounds; round++) {
    held.push(
      await page.evaluate(async (count) => {
        const { library, held: counts } = globalThis as unknown as SoakGlobals;
        const pixels = new Float32Array(3 * 28 * 28).fill(0.5);
        for (let load = 0; load < count; load++) {
          const model = await library.DINOv2.fromPretrained('/weights/', { selfTest: false });
          const features = await model.forward(pixels, { height: 28, width: 28 });
          await features.clsToken();
          features.dispose();
          model.dispose();
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
        return { ...counts };
      }, loads / rounds),
    );
    used.push(await heaps.usedBytes());
  }
  expectFlat(`loads ${name}`, loads, held, used);
  if (!kept) expect(held[0]).toEqual({ buffers: 0, bytes: 0, textures: 0 });
  await page.context().close();
});

test('forward passes of images of several sizes and kinds', { timeout: TIMEOUT_MS }, async () => {
  const { page, heaps } = await open();
  const held: Held[] = [];
  const used: number[][] = [];
  for (let round = 0; round < ROUNDS; round++) {
    held.push(
      await page.evaluate(async (count) => {
        const soak = globalThis as unknown as SoakGlobals;
        soak.model ??= await soak.library.DINOv2.fromPretrained('/weights/', { selfTest: false });
        const { model } = soak;
        const image = new ImageData(40, 30);
        image.data.fill(99);
        for (let call = 0; call < count; call++) {
          const size = [28, 42, 56][call % 3]!;
          if (call % 4 === 0) {
            await model.embed(image, { resize: 'square', size });
            continue;
          }
          const features = await model.features(image, { resize: 'square', size, layers: [0] });
          if (call % 4 === 1) await features.lastHiddenState();
          else await Promise.all([features.clsToken(), features.hiddenState(0, { norm: true })]);
          features.dispose();
        }
        return { ...soak.held };
      }, FORWARDS / ROUNDS),
    );
    used.push(await heaps.usedBytes());
  }
  expectFlat('forwards', FORWARDS, held, used);
  await page.context().close();
});

test.concurrent.each(['page', 'worker'] as const)(
  'live video of a camera, in the %s',
  { timeout: 120_000 + LIVE_MINUTES * 60_000 },
  async (side) => {
    const { page, heaps } = await open();
    const roundMs = (LIVE_MINUTES * 60_000) / 2 / ROUNDS;
    await page.evaluate(async (where) => {
      const soak = globalThis as unknown as SoakGlobals;
      const { DINOv2 } = (where === 'page' ? soak.library : soak.worker) as Globals['library'];
      soak.model = await DINOv2.fromPretrained('/weights/', { selfTest: false });
    }, side);
    const start = (): Promise<void> =>
      page.evaluate(async () => {
        const soak = globalThis as unknown as SoakGlobals;
        const camera = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 } });
        soak.frames = 0;
        soak.live = await soak.model!.live(camera, {
          resize: 'square',
          size: 56,
          onFrame: () => void (soak.frames += 1),
        });
        soak.live.finished.catch((error: unknown) => reportError(error));
      });
    /** Stops the live video. Returns what its model and page hold on the GPU. */
    const stop = (): Promise<Held & { readonly modelBytes: number }> =>
      page.evaluate(async () => {
        const { live, held, model } = globalThis as unknown as SoakGlobals;
        live.stop();
        await live.finished;
        await new Promise((resolve) => setTimeout(resolve, 200));
        return { ...held, modelBytes: await model!.gpuBytes };
      });
    const framesNow = (): Promise<number> =>
      page.evaluate(() => (globalThis as unknown as SoakGlobals).frames);
    await start();
    await expect.poll(framesNow).toBeGreaterThan(5); // the first frames make the activations of their size
    const held = [await stop()];
    await start();
    const used: number[][] = [];
    const frames: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      await page.waitForTimeout(roundMs);
      used.push(await heaps.usedBytes());
      frames.push(await framesNow());
    }
    held.push(await stop());
    // Frames arrive until the end, at a steady pace.
    for (let round = 1; round < ROUNDS; round++) expect(frames[round]).toBeGreaterThan(frames[round - 1]!);
    expectFlat(`live video in the ${side}`, frames.at(-1)!, held, used);
    expect(held[0]!.modelBytes).toBeGreaterThan(0);
    await page.context().close();
  },
);
