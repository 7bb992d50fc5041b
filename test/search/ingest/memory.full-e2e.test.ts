// Ingests 200 photographs of 12 megapixels. Bitmaps decoded at the same time stay within their bound, and the
// page's memory does not grow with the folder. The model runs in the page, where the test can count bitmaps.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Page } from 'playwright';
import { memorySlowdown } from '../../memorySpeed.ts';
import { openWorkerSite, type Globals, type WorkerSite } from '../../worker/site.ts';

const PHOTOGRAPHS = 200;
const [WIDTH, HEIGHT] = [4032, 3024];
const MIB = 2 ** 20;
/** A task that takes longer counts as a long one, on a machine with usual memory. */
const LONG_TASK_MS = 50;
/** The bound that docs/guide/search.md states. */
const MOST_BITMAP_BYTES = 256 * MIB;
/** Bound for decoded rows and compressed files in all slots, plus the page's own memory. */
const MOST_MEMORY_BYTES = 700 * MIB;

let site: WorkerSite;
let page: Page;
beforeAll(async () => {
  site = await openWorkerSite();
  page = await site.open();
  const content = "import * as search from '/dist/search.js'; Object.assign(globalThis, { search });";
  await page.addScriptTag({ type: 'module', content });
  await page.waitForFunction(() => 'search' in globalThis);
});
afterAll(() => site.close());

test(
  `${PHOTOGRAPHS} photographs of 12 megapixels: decoded pixels and memory stay within their bounds, and the page stays responsive`,
  { timeout: 900_000 },
  async () => {
    const longTaskMs = LONG_TASK_MS * (await memorySlowdown(page));
    const session = await page.context().newCDPSession(page);
    const heapBytes = async (): Promise<number> => {
      const usage: { usedSize: number; backingStorageSize?: number } =
        await session.send('Runtime.getHeapUsage');
      return usage.usedSize + (usage.backingStorageSize ?? 0);
    };
    const running = page.evaluate(
      async ([count, width, height]) => {
        const { library, search } = globalThis as unknown as Globals & {
          search: typeof import('../../../src/search.ts');
        };
        const canvas = new OffscreenCanvas(width, height);
        const context = canvas.getContext('2d')!;
        for (let i = 0; i < 300; i++) {
          context.fillStyle = `hsl(${i * 37} 60% ${20 + (i % 7) * 10}%)`;
          context.fillRect((i * 911) % width, (i * 577) % height, 900, 700);
        }
        const drawn = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.9 });
        // Removes the sRGB profile that Chromium writes (segment FF E2), because cameras write none.
        const bytes = new DataView(await drawn.arrayBuffer());
        let profile = 2;
        while (bytes.getUint16(profile) !== 0xffe2) profile += 2 + bytes.getUint16(profile + 2);
        const blob = new Blob([
          drawn.slice(0, profile),
          drawn.slice(profile + 2 + bytes.getUint16(profile + 2)),
        ]);
        const files = Array.from(
          { length: count },
          (_, i) => new File([blob], `${i}.jpg`, { lastModified: i }),
        );

        let held = 0;
        let most = 0;
        let decodes = 0;
        const create = createImageBitmap;
        globalThis.createImageBitmap = async (...given: [ImageBitmapSource]) => {
          if (given[0] instanceof Blob) decodes += 1;
          const bitmap = await create(...given);
          const size = bitmap.width * bitmap.height * 4;
          most = Math.max(most, (held += size));
          const close = bitmap.close.bind(bitmap);
          bitmap.close = () => {
            held -= size;
            close();
          };
          return bitmap;
        };
        const tasks: number[] = [];
        const model = await library.DINOv2.fromPretrained('/weights/', { selfTest: false });
        const index = new search.EmbeddingIndex({ dim: model.config.embedDim, device: 'cpu' });
        await search.ingest(index, model, files.slice(0, 16), { cropSize: 56 }).finished; // warm-up: compiles the programs
        new PerformanceObserver((list) =>
          tasks.push(...list.getEntries().map(({ duration }) => duration)),
        ).observe({ type: 'longtask' });
        const gpuBytes = model.gpuBytes;
        decodes = 0;
        const { added } = await search.ingest(index, model, files.slice(16), { cropSize: 56 }).finished;
        await new Promise((resolve) => setTimeout(resolve, 300));
        return { added, decodes, most, left: held, tasks, grown: model.gpuBytes - gpuBytes };
      },
      [PHOTOGRAPHS + 16, WIDTH, HEIGHT] as const,
    );
    let isOver = false;
    void running.finally(() => (isOver = true)).catch(() => undefined);
    const heap: number[] = [];
    while (!isOver) {
      heap.push(await heapBytes());
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    const found = await running;
    const longTasks = found.tasks.filter((durationMs) => durationMs > longTaskMs);
    const half = heap.length >> 1;
    const [early, late] = [Math.max(...heap.slice(0, half)), Math.max(...heap.slice(half))];
    console.log(
      `bitmaps at once ${(found.most / MIB).toFixed(0)} MiB, memory of the page ${(early / MIB).toFixed(0)} MiB, in the second half ${(late / MIB).toFixed(0)} MiB; tasks of over ${Math.round(longTaskMs)} ms: ${longTasks.map(Math.round).join(', ') || 'none'}`,
    );
    expect(found).toMatchObject({ added: PHOTOGRAPHS, decodes: PHOTOGRAPHS, left: 0 });
    expect(found.most).toBeGreaterThan(WIDTH * HEIGHT * 4); // several bitmaps at the same time
    expect(found.most).toBeLessThanOrEqual(MOST_BITMAP_BYTES);
    // Measured in wall time, so some long tasks are allowed: the system sometimes suspends a busy page.
    expect(longTasks.length).toBeLessThanOrEqual(PHOTOGRAPHS / 20);
    expect(late).toBeLessThanOrEqual(MOST_MEMORY_BYTES);
    expect(late).toBeLessThanOrEqual(early + 200 * MIB);
    expect(found.grown).toBeLessThanOrEqual(4 * MIB);
  },
);
