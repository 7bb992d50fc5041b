// Times of reading results back in Firefox. Run with `npm run test:firefox`.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { median } from '../../src/gpu/measure/stopwatch.ts';
import { openFirefox, type Firefox } from './browser.ts';

/** Number of timed forwards. A busy machine needs more. */
const RUNS = Number(process.env['TEST_FORWARDS'] ?? 3);

let firefox: Firefox;
beforeAll(async () => {
  firefox = await openFirefox();
});
afterAll(() => firefox?.close());

test('a read of four bytes takes at most 10 ms', async () => {
  const { ours, bare } = await firefox.page.evaluate(() => globalThis.actions.reads());
  console.log(`Firefox: a read takes ${median(ours)} ms; a bare mapAsync ${median(bare)} ms`);
  expect(median(ours)).toBeLessThanOrEqual(10);
});

// Prints times for bench/RESULTS.md. They are not asserted, because other processes disturb them; Firefox and
// Node alternate so that both are disturbed alike.
test('a warm forward of ViT-S in Firefox, and in Node on the same driver', async () => {
  const { page, version } = firefox;
  const node = fork(fileURLToPath(new URL('read.node.mjs', import.meta.url)));
  const answer = async (): Promise<unknown> =>
    Promise.race([
      once(node, 'message').then(([message]: unknown[]) => message),
      once(node, 'exit').then(([code]) => {
        throw new Error(`read.node.mjs ended with exit code ${code}.`);
      }),
    ]);
  try {
    const adapter = await answer();
    await page.evaluate(() => globalThis.actions.loadForward());
    const inNode: number[] = [];
    const inFirefox: { ms: number; submits: number }[] = [];
    for (let i = 0; i < 2 + RUNS; i++) {
      node.send('run');
      inNode.push(((await answer()) as { ms: number }).ms);
      inFirefox.push(await page.evaluate(() => globalThis.actions.forward()));
    }
    // Skip two runs: drivers compile in the first, and the library learns from it how much to put into a
    // submit.
    const nodeMs = inNode.slice(2);
    const firefoxMs = inFirefox.slice(2).map(({ ms }) => ms);
    console.log(
      `${version}: ViT-S at 224 takes ${Math.min(...firefoxMs)} ms (median ${median(firefoxMs)}) in ${inFirefox.at(-1)!.submits} submits; ` +
        `in Node on ${adapter} ${Math.min(...nodeMs).toFixed(0)} ms (median ${median(nodeMs).toFixed(0)})`,
    );
    expect(inFirefox.at(-1)!.submits).toBeGreaterThan(1); // several submits, so that the time includes waits between submits
  } finally {
    node.kill('SIGKILL'); // drivers can take long to shut down
  }
});
