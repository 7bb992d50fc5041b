import type { Page } from 'playwright';

/** Time of the measurement below on a usual machine: 4096 page faults of about 1 µs, and writing 16 MiB. */
const USUAL_MS = 10;

/**
 * Returns by how much longer than on a usual machine the first access to newly allocated memory takes: 1 or more.
 *
 * Pictures of megapixels are copied to new memory. A virtual machine that handles page faults in software needs
 * 15 µs for each, so that these copies take several times as long, whatever the library does. Limits on the
 * duration of a task that copies pictures are multiplied by this factor.
 */
export async function memorySlowdown(page: Page): Promise<number> {
  const elapsedMs = await page.evaluate(async () => {
    const kept: Uint8Array[] = []; // all of them, so that each is new memory
    const times: number[] = [];
    for (let i = 0; i < 9; i++) {
      const begin = performance.now();
      kept.push(new Uint8Array(2 ** 24).fill(1));
      times.push(performance.now() - begin);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return times.sort((a, b) => a - b)[4]!;
  });
  const slowdown = Math.max(1, elapsedMs / USUAL_MS);
  console.log(`16 MiB of new memory: ${elapsedMs.toFixed(1)} ms; limits × ${slowdown.toFixed(1)}`);
  return slowdown;
}
