// Losses of the GPU by `device.destroy()` in Firefox, in the page and in a worker: the cases of
// test/session/crash.full-e2e.test.ts, on the built library. Run with `npm run test:firefox`.
import type { Browser, Page } from 'puppeteer-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { lose, loseLive, PHASES, type Case } from '../session/losses.ts';
import { openWorkerServer, type WorkerServer } from '../worker/site.ts';
import { newPage } from './browser.ts';
import { launchFirefox } from './launch.ts';

let server: WorkerServer;
let browser: Browser;
let page: Page;
const unhandled: string[] = [];

beforeAll(async () => {
  [server, browser] = await Promise.all([
    openWorkerServer(),
    launchFirefox({ 'media.navigator.streams.fake': true, 'media.navigator.permission.disabled': true }),
  ]);
  page = await newPage(browser);
  page.on('pageerror', (error) => unhandled.push(String(error)));
  await page.goto(`${server.url}/losing/`);
  await page.waitForFunction(() => 'worker' in globalThis);
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

test('an unhandled rejection is noticed', async () => {
  await page.evaluate(() => void Promise.reject(new Error('meant')));
  await expect.poll(() => unhandled.join()).toContain('meant');
  unhandled.length = 0;
});

const cases: Case[] = (['page', 'worker'] as const)
  .flatMap((side) => PHASES.map((phase) => ({ side, phase })))
  // A search computes in the page, also with a model in a worker.
  .filter(({ side, phase }) => phase !== 'search' || side === 'page')
  .map((given, i) => ({
    ...given,
    how: 'destroy',
    delayMs: (i * 37) % 90,
  }));

test.each(cases)('loss in the $side during $phase, after $delayMs ms', async (given) => {
  const outcome = await page.evaluate(lose, given);
  expect(outcome.wrong).toEqual([]);
  expect(outcome.calls).toBeGreaterThanOrEqual(2);
  for (const code of outcome.allowed) expect(code).toBe('DEVICE_LOST');
  expect(unhandled).toEqual([]);
});

test.each(['page', 'worker'] as const)(
  'live video of a camera goes on after a loss in the %s',
  async (side) => {
    const { frames, failure, dropped } = await page.evaluate(loseLive, { side, how: 'destroy' as const });
    expect(failure).toBe('');
    expect(frames).toBeGreaterThan(3);
    expect(dropped).toBeGreaterThanOrEqual(0);
    expect(unhandled).toEqual([]);
  },
);
