// Pages that the browser freezes and hides. A frozen page runs nothing; a hidden page runs timers once a second and
// shows no frames. Each call that is under way must end with the same numbers as on a page in front.
//
// Playwright keeps its pages in front, so this file uses Puppeteer. Chromium hides a page that it freezes, and the page
// stays hidden when it runs again, to the end of the test.
import puppeteer, { type Browser, type CDPSession, type Page } from 'puppeteer-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chromiumArgs } from '../../scripts/software-gpu.mjs';
import { openWorkerSite, type Globals, type WorkerModel, type WorkerSite } from '../worker/site.ts';

/** Switches with which Puppeteer keeps hidden pages at full speed. */
const KEPT_AWAKE = [
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
];
const FROZEN_MS = 1500;
const CALLS = ['load', 'forward', 'embedAll', 'ingest', 'tune', 'search'] as const;
type CallName = (typeof CALLS)[number];
type Side = 'page' | 'worker';

interface HiddenGlobals extends Globals {
  readonly search: typeof import('../../src/search.ts');
  models: Record<Side, WorkerModel>;
  /** Number of frames whose features were delivered. */
  frames: number;
  live: import('../../src/index.ts').LiveVideo;
}

let site: WorkerSite;
let browser: Browser;
let page: Page;
let session: CDPSession;
const unhandled: string[] = [];
const right = new Map<string, string>();
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const visibility = (): Promise<string> => page.evaluate(() => document.visibilityState);

beforeAll(async () => {
  site = await openWorkerSite();
  browser = await puppeteer.launch({
    executablePath: process.env['CHROMIUM_PATH']!,
    headless: 'shell',
    args: chromiumArgs,
    ignoreDefaultArgs: KEPT_AWAKE,
    protocolTimeout: 170_000,
  });
  page = await browser.newPage();
  page.on('pageerror', (error) => unhandled.push(String(error)));
  session = await page.createCDPSession();
  await page.goto(`${site.url}/losing/`);
  await page.waitForFunction(() => 'worker' in globalThis);
  await page.evaluate(async () => {
    const { library, worker } = globalThis as unknown as HiddenGlobals;
    const load = async (side: Side): Promise<WorkerModel> => {
      const { DINOv2 } = (side === 'page' ? library : worker) as typeof worker;
      return DINOv2.fromPretrained('/weights/', { selfTest: false });
    };
    Object.assign(globalThis, { models: { page: await load('page'), worker: await load('worker') } });
  });
  for (const side of ['page', 'worker'] as const)
    for (const name of CALLS) right.set(`${side} ${name}`, await page.evaluate(call, side, name));
});
afterAll(async () => {
  await browser?.close();
  await site.close();
  expect(unhandled).toEqual([]);
});

/** Freezes the page for some time. Afterwards the page runs, and is hidden. */
async function freeze(frozenMs: number): Promise<void> {
  await session.send('Page.setWebLifecycleState', { state: 'frozen' });
  await pause(frozenMs);
  await session.send('Page.setWebLifecycleState', { state: 'active' });
}

/** Runs in the page: a call whose result is text. */
async function call(side: Side, name: CallName): Promise<string> {
  const { library, worker, search, models } = globalThis as unknown as HiddenGlobals;
  const model = models[side];
  const how = { resize: 'square', size: 56 } as const;
  const files = await Promise.all(
    ['astronaut.png', 'coffee.png', 'rocket.jpg'].map(
      async (file) => new File([await (await fetch(`/photos/${file}`)).blob()], file),
    ),
  );
  const calls: Record<CallName, () => Promise<unknown>> = {
    async load() {
      // Two answers are errors, and each attempt waits longer. A pause of 500 ms counts as a broken connection.
      let asked = 0;
      let bytes = 0;
      const { DINOv2 } = (side === 'page' ? library : worker) as typeof worker;
      const another = await DINOv2.fromPretrained('/weights/', {
        selfTest: false,
        cache: 'none',
        retry: { delayMs: 100, stallMs: 500 },
        fetch: async (url, init) => {
          const path = url instanceof Request ? url.url : String(url);
          if (path.endsWith('.safetensors') && asked++ < 2) return new Response('busy', { status: 503 });
          return fetch(url, init);
        },
        onProgress: ({ loadedBytes }) => {
          if (loadedBytes < bytes) throw new Error(`progress went back to ${loadedBytes} from ${bytes}`);
          bytes = loadedBytes;
        },
      });
      const vector = await another.embed(files[0]!, how);
      another.dispose();
      return [bytes, Array.from(vector)];
    },
    async forward() {
      const features = await model.features(files[0]!, { ...how, size: 224, layers: [0] });
      const tokens = [await features.lastHiddenState(), await features.hiddenState(0)];
      features.dispose();
      return tokens.map((each) => Array.from(each));
    },
    async embedAll() {
      const found: unknown[] = [];
      const images = Array.from({ length: 12 }, (_, i) => files[i % 3]!);
      const options = { ...how, batchSize: 2 };
      for await (const { index, embedding } of model.embedAll(images, options))
        found.push([index, embedding && Array.from(embedding)]);
      return found;
    },
    async ingest() {
      const index = new search.EmbeddingIndex({ dim: model.config.embedDim, device: 'cpu' });
      const images = Array.from({ length: 9 }, (_, i) => new File([files[i % 3]!], `${i}.png`));
      let last: object = {};
      const report = await search.ingest(index, model as never, images, {
        thumbnailPx: 0,
        batchSize: 2,
        ...how,
        onProgress: ({ phase, images: count, added, failed }) => (last = { phase, count, added, failed }),
      }).finished;
      const vectors = images.map(({ name: id }) => Array.from(index.vector(id) ?? []));
      index.dispose();
      return [report.added, report.failed, last, vectors];
    },
    async tune() {
      await model.tune({ sizesPx: [28], store: false });
      return Array.from(await model.embed(files[1]!, how));
    },
    async search() {
      const index = new search.EmbeddingIndex({ dim: 27 });
      const row = (at: number): Float32Array =>
        Float32Array.from({ length: 27 }, (_, i) => Math.sin(at * 27 + i));
      await index.addMany(Array.from({ length: 21_000 }, (_, at) => ({ id: `${at}`, vector: row(at) })));
      const hits = await index.search(row(7));
      index.dispose();
      return hits.map(({ id, score }) => [id, score]);
    },
  };
  return JSON.stringify(await calls[name]());
}

describe.each(['page', 'worker'] as const)('with the model in the %s', (side) => {
  test.each(CALLS)('%s ends with the same numbers after a freeze, and on a hidden page', async (name) => {
    for (const beginMs of [0, 40, 300]) {
      const running = page.evaluate(call, side, name);
      await pause(beginMs);
      await freeze(FROZEN_MS);
      expect((await running) === right.get(`${side} ${name}`), `frozen after ${beginMs} ms`).toBe(true);
    }
    expect(await visibility()).toBe('hidden');
    expect((await page.evaluate(call, side, name)) === right.get(`${side} ${name}`), 'hidden').toBe(true);
  });

  test('live video of a camera stops while the page is frozen, and goes on while it is hidden', async () => {
    await page.evaluate(async (where) => {
      const globals = globalThis as unknown as HiddenGlobals;
      const camera = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 } });
      globals.frames = 0;
      const model = globals.models[where] as unknown as import('../../src/index.ts').DINOv2;
      globals.live = await model.live(camera, {
        resize: 'square',
        size: 56,
        onFrame: () => void (globals.frames += 1),
      });
    }, side);
    const frames = (): Promise<number> =>
      page.evaluate(() => (globalThis as unknown as HiddenGlobals).frames);
    const more = async (): Promise<void> => {
      const before = await frames();
      await expect.poll(frames).toBeGreaterThan(before + 3);
    };
    await more();
    await session.send('Page.setWebLifecycleState', { state: 'frozen' });
    await pause(100);
    const frozen = await frames();
    await pause(FROZEN_MS);
    expect(await frames()).toBe(frozen);
    await session.send('Page.setWebLifecycleState', { state: 'active' });
    await more();
    expect(await visibility()).toBe('hidden');
    const ended = await page.evaluate(async () => {
      const { live } = globalThis as unknown as HiddenGlobals;
      live.stop();
      await live.finished;
      return live.framesIn - live.framesDropped;
    });
    expect(ended).toBeGreaterThan(0);
  });
});

test('live video of a <video> on a hidden page delivers only the picture that is there, and ends when it is stopped', async () => {
  await freeze(100);
  expect(await visibility()).toBe('hidden');
  await page.evaluate(async () => {
    const globals = globalThis as unknown as HiddenGlobals;
    const video = document.body.appendChild(document.createElement('video'));
    video.muted = true;
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 } });
    await video.play();
    globals.frames = 0;
    const model = globals.models.page as unknown as import('../../src/index.ts').DINOv2;
    globals.live = await model.live(video, {
      resize: 'square',
      size: 56,
      onFrame: () => void (globals.frames += 1),
    });
  });
  await pause(2000);
  const frames = await page.evaluate(async () => {
    const { live } = globalThis as unknown as HiddenGlobals;
    live.stop();
    await live.finished;
    return (globalThis as unknown as HiddenGlobals).frames;
  });
  expect(frames).toBeLessThanOrEqual(1);
});
