// Losses of the GPU in Chromium, in the page and in a worker: by `device.destroy()`, and by a crash of the browser's
// GPU process. Calls run again and again while the loss happens. Each must give the right numbers. `.ci/run` tests each
// case once, `npm run test:long` eight times, which makes 208 losses.
import { chromium, type CDPSession, type Page } from 'playwright';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { chromiumArgs } from '../../scripts/software-gpu.mjs';
import { correctEvaluate } from '../evaluate.ts';
import { long } from '../full.ts';
import { openWorkerSite, type WorkerSite } from '../worker/site.ts';
import { lose, loseLive, PHASES, type Case, type Outcome } from './losses.ts';
import { shareOfBrowser, usage } from './machineShare.ts';

/** Without these switches, Chromium blocks WebGPU on the page after the second crash. */
const ARGS = ['--disable-domain-blocking-for-3d-apis', '--disable-gpu-process-crash-limit'];
const REPEATS = long ? 8 : 1;
/**
 * Longest time of a call during a loss, on a machine that does nothing else. Not counted is the time that the browser
 * needs until it gives a device to code that does nothing else. Most of the rest is the CPU time of the software
 * adapter's compiler, so it is multiplied by the share of the cores that other programs leave to the browser. On a
 * machine without other load, this share is almost 1, and a needless wait counts in full.
 */
const LIMIT_MS = 5000;

let site: WorkerSite;
let page: Page;
let session: CDPSession;
const unhandled: string[] = [];
const outcomes: (Case & Outcome & { calledMs: number })[] = [];

beforeAll(async () => {
  site = await openWorkerSite(async () => {
    const executablePath = process.env['CHROMIUM_PATH']!;
    const browser = await chromium.launch({ executablePath, args: [...chromiumArgs, ...ARGS] });
    return browser.on('context', correctEvaluate);
  });
  session = await site.browser.newBrowserCDPSession();
  page = await site.open('/losing/');
  page.on('pageerror', (error) => unhandled.push(String(error)));
  await page.exposeFunction('crash', async () => {
    await session.send('Browser.crashGpuProcess' as never).catch(() => undefined);
  });
});
const most = (of: (outcome: (typeof outcomes)[number]) => number): string =>
  Math.max(...outcomes.map(of)).toFixed(0);
afterAll(async () => {
  if (outcomes.length > 0)
    console.log(
      `${outcomes.filter(({ wrong }) => wrong.length === 0).length} of ${outcomes.length} losses recovered; the slowest call took ${most(({ slowestMs }) => slowestMs)} ms, or ${most(({ calledMs }) => calledMs)} ms without other load and without the browser's time until it gave a device, which was up to ${most(({ deviceMs }) => deviceMs)} ms`,
    );
  await site.close();
  expect(unhandled).toEqual([]);
});

const cases: Case[] = [];
for (let repeat = 0; repeat < REPEATS; repeat++)
  for (const how of ['destroy', 'crash'] as const)
    for (const side of ['page', 'worker'] as const)
      for (const phase of PHASES)
        // A search computes in the page, also with a model in a worker.
        if (phase !== 'search' || side === 'page')
          cases.push({ side, how, phase, delayMs: (repeat * 37 + cases.length * 11) % 90 });

test.each(cases)(
  '$how in the $side during $phase, after $delayMs ms',
  { timeout: 120_000 },
  async (given) => {
    const before = await usage(session);
    const outcome = await page.evaluate(lose, given);
    const share = shareOfBrowser(before, await usage(session));
    const calledMs = (outcome.slowestMs - outcome.deviceMs) * share;
    outcomes.push({ ...given, ...outcome, calledMs });
    expect(calledMs).toBeLessThan(LIMIT_MS);
    expect(outcome.wrong).toEqual([]);
    expect(outcome.calls).toBeGreaterThanOrEqual(2);
    for (const code of outcome.allowed) expect(code).toBe('DEVICE_LOST');
    expect(unhandled).toEqual([]);
  },
);

test.each(
  (['page', 'worker'] as const).flatMap((side) =>
    (['destroy', 'crash'] as const).map((how) => ({ side, how })),
  ),
)('live video of a camera goes on after $how in the $side', { timeout: 120_000 }, async (given) => {
  const { frames, failure, dropped } = await page.evaluate(loseLive, given);
  expect(failure).toBe('');
  expect(frames).toBeGreaterThan(3);
  expect(dropped).toBeGreaterThanOrEqual(0);
  expect(unhandled).toEqual([]);
});
