// Decoding large images in the page blocks its main thread for less than 50 ms at a time, whatever the format.
// Tasks of the browser in which no script runs are logged only: after a decode, Chromium copies the whole image in
// one task, whose time depends on the machine's memory. A page cannot divide this task.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Page } from 'playwright';
import sharp, { type Sharp } from 'sharp';
import { memorySlowdown } from '../memorySpeed.ts';
import { openWorkerSite, type Globals, type WorkerSite } from '../worker/site.ts';
import { bmpOf, cmykOf, gifOf, pngOf, runsBmpOf, wavesAt } from './largeFiles.ts';

/**
 * Limit on the CPU time of one task, on a machine with usual memory. CPU time, because other programs delay the
 * thread too.
 */
const LONGEST_TASK_MS = 50;

const [WIDTH, HEIGHT] = [4032, 3024];
const flat = (): void => undefined;
function photograph(): Sharp {
  const data = Buffer.alloc(WIDTH * HEIGHT * 3);
  for (let y = 0; y < HEIGHT; y++) wavesAt(data.subarray(y * WIDTH * 3, (y + 1) * WIDTH * 3), y);
  return sharp(data, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } });
}
const FILES: Readonly<Record<string, () => Buffer | Promise<Buffer>>> = {
  'photo.jpg': () => photograph().jpeg({ quality: 90 }).toBuffer(),
  'photo.webp': () => photograph().webp({ effort: 0 }).toBuffer(),
  'waves.png': () => pngOf(WIDTH, HEIGHT, 8, wavesAt),
  'flat.png': () => pngOf(WIDTH, HEIGHT, 8, flat),
  '16bits.png': () => pngOf(2000, 1500, 16, wavesAt),
  'flat16bits.png': () => pngOf(WIDTH, HEIGHT, 16, flat),
  'broken.png': () => {
    const bytes = pngOf(2000, 1500, 8, wavesAt);
    bytes[bytes.length - 17]! ^= 1; // the checksum of the inflated data
    return bytes;
  },
  'cut.png': () => pngOf(2000, 1500, 8, wavesAt).subarray(0, -40),
  'large.gif': () => gifOf(WIDTH, HEIGHT),
  '24bits.bmp': () => bmpOf(WIDTH, HEIGHT, wavesAt),
  'runs.bmp': () => runsBmpOf(WIDTH, HEIGHT),
  'cmyk.jpg': () => cmykOf(WIDTH, HEIGHT),
};

/** An event of Chromium's trace. Times are in µs; `tdur` is the thread's CPU time. */
interface TraceEvent {
  readonly name: string;
  readonly cat: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur?: number;
  readonly tdur?: number;
}

let site: WorkerSite;
let page: Page;
beforeAll(async () => {
  site = await openWorkerSite();
  page = await site.open();
  await page.route('**/large/*', async (route) =>
    route.fulfill({ body: await FILES[new URL(route.request().url()).pathname.split('/').at(-1)!]!() }),
  );
});
afterAll(() => site.close());

test('large images decoded in the page: no task takes 50 ms', { timeout: 600_000 }, async () => {
  const limitMs = LONGEST_TASK_MS * (await memorySlowdown(page));
  await site.browser.startTracing(page, {
    categories: ['disabled-by-default-devtools.timeline', 'devtools.timeline', 'v8', 'blink.user_timing'],
  });
  const found = await page.evaluate(async (names) => {
    const { library } = globalThis as unknown as Globals;
    const model = await library.DINOv2.fromPretrained('/weights/', { selfTest: false });
    const rest = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
    const embed = async (image: Blob): Promise<string> => {
      for await (const { embedding, error } of model.embedAll([image], { cropSize: 56, thumbnailPx: 256 }))
        return embedding?.every(Number.isFinite) ? 'embedded' : `${error?.code}`;
      return 'nothing';
    };
    await embed(await (await fetch('/photos/rocket.jpg')).blob());
    const outcomes: string[] = [];
    for (const name of names) {
      const image = await (await fetch(`/large/${name}`)).blob();
      await rest(500); // lets the request's garbage be collected
      performance.mark(`begin ${name}`);
      outcomes.push(`${name}: ${await embed(image)}`);
      performance.mark(`end ${name}`);
    }
    model.dispose();
    // A deliberately long task, to check that the trace shows long tasks.
    await rest(100);
    performance.mark('begin nothing');
    await new Promise<void>((resolve) =>
      setTimeout(() => {
        const until = performance.now() + 500;
        for (let steps = 0, seen = performance.now(); steps < 1000 || seen < until;) {
          const now = performance.now();
          if (now !== seen) steps++;
          seen = now;
        }
        resolve();
      }),
    );
    await rest(100);
    performance.mark('end nothing');
    return outcomes;
  }, Object.keys(FILES));
  const { traceEvents } = JSON.parse((await site.browser.stopTracing()).toString()) as {
    traceEvents: TraceEvent[];
  };
  const markOf = (which: string): TraceEvent =>
    traceEvents.find(({ name, cat }) => name === which && cat.includes('blink.user_timing'))!;
  const inThread = ({ pid, tid }: TraceEvent, name: RegExp): TraceEvent[] =>
    traceEvents.filter((each) => each.pid === pid && each.tid === tid && name.test(each.name));
  /** Times in ms of the longest task that runs script, and of the longest other task. */
  const longest = (which: string): { script: number; browser: number } => {
    const [begin, end] = [markOf(`begin ${which}`), markOf(`end ${which}`)];
    const calls = inThread(begin, /^(RunMicrotasks|FunctionCall|v8\.callFunction)$/);
    const times = { script: 0, browser: 0 };
    for (const { ts, dur = 0, tdur = 0 } of inThread(begin, /^RunTask$/)) {
      if (ts + dur <= begin.ts || ts >= end.ts) continue;
      const whose = calls.some((call) => call.ts >= ts && call.ts < ts + dur) ? 'script' : 'browser';
      times[whose] = Math.max(times[whose], tdur / 1000);
    }
    return times;
  };
  const tasks = Object.keys(FILES).map((name) => ({ name, ...longest(name) }));
  const text = (ms: number): string => `${Math.round(ms)} ms`;
  console.log(tasks.map((task) => `${task.name} ${text(task.script)} (${text(task.browser)})`).join(', '));
  expect(found).toEqual(
    Object.keys(FILES).map((name) => `${name}: ${/broken|cut/.test(name) ? 'IMAGE_DECODE' : 'embedded'}`),
  );
  expect(longest('nothing').script).toBeGreaterThan(LONGEST_TASK_MS);
  expect(tasks.filter(({ script }) => script > limitMs)).toEqual([]);
});
