// PCA pictures of the published library: the worker and the page give the same bits, and a worker draws on canvases
// of the page.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Page } from 'playwright';
import { openWorkerSite, type Globals, type WorkerSite } from './site.ts';

let site: WorkerSite;
let page: Page;
beforeAll(async () => {
  site = await openWorkerSite();
  page = await site.open();
});
afterAll(() => site.close());

test('recipes, sizes and PNG files: the same bits in both', async () => {
  const [inPage, inWorker] = await page.evaluate(async () => {
    const { library, worker } = globalThis as unknown as Globals;
    const blob = await (await fetch('/photos/chelsea.png')).blob();
    const bytesOf = async (file: Blob): Promise<number[]> => [...new Uint8Array(await file.arrayBuffer())];
    const results = async ({ DINOv2, PCA }: Globals['library']): Promise<string> => {
      const model = await DINOv2.fromPretrained('/weights/', { selfTest: false });
      const features = await model.features(blob, { resize: 'fit', longestSide: 112 });
      const found: unknown[] = [];
      for (const recipe of ['plain', 'paper', 'notebook', 'whitened'] as const) {
        for (const foreground of ['auto', 'none'] as const) {
          const pca = await PCA.fit(features, { recipe, foreground });
          const again = PCA.fromJSON(JSON.parse(JSON.stringify(pca)) as ReturnType<typeof pca.toJSON>);
          const pixels = [
            await pca.rgb(features, { background: 'colored' }),
            await again.rgb(features, { background: 'transparent', scale: 3 }),
            await pca.rgb(features, { width: 31, smooth: false }),
          ];
          found.push(
            recipe,
            foreground,
            { ...pca },
            pca.toJSON(),
            pixels,
            await bytesOf(await pca.png(features)),
          );
        }
      }
      features.dispose();
      model.dispose();
      return JSON.stringify(found);
    };
    return [await results(library), await results(worker as unknown as Globals['library'])];
  });
  expect(inWorker).toBe(inPage);
  expect(inPage!.length).toBeGreaterThan(10_000);
});

test('a worker draws on a canvas that the page handed over, again and again', async () => {
  const found = await page.evaluate(async () => {
    const { worker } = globalThis as unknown as Globals;
    const blob = await (await fetch('/photos/chelsea.png')).blob();
    const model = await worker.DINOv2.fromPretrained('/weights/', { selfTest: false });
    const features = await model.features(blob, { resize: 'fit', longestSide: 112 });
    const recipes = ['plain', 'whitened'] as const;
    const bases = await Promise.all(recipes.map((recipe) => worker.PCA.fit(features, { recipe })));
    const canvas = Object.assign(document.createElement('canvas'), { width: 40, height: 30 });
    document.body.append(canvas);
    const copy = new OffscreenCanvas(40, 30).getContext('2d', { willReadFrequently: true })!;
    const differences: number[] = [];
    for (const pca of bases) {
      const expected = await pca.rgb(features, { width: 40, height: 30 });
      await pca.drawTo(features, canvas);
      // The page shows the worker's frame a moment later.
      for (let frame = 0; frame < 100; frame++) {
        await new Promise(requestAnimationFrame);
        copy.clearRect(0, 0, 40, 30);
        copy.drawImage(canvas, 0, 0);
        const { data } = copy.getImageData(0, 0, 40, 30);
        const worst = data.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
        differences[bases.indexOf(pca)] = worst;
        if (worst <= 1) break;
      }
    }
    const flat = document.createElement('canvas');
    flat.getContext('2d');
    const flatOffscreen = new OffscreenCanvas(2, 2);
    flatOffscreen.getContext('2d');
    const handedOver = document.createElement('canvas');
    handedOver.transferControlToOffscreen();
    const codes: unknown[] = [];
    for (const target of [flat, flatOffscreen, handedOver, {}, null])
      codes.push(
        await bases[0]!.drawTo(features, target as HTMLCanvasElement).then(
          () => 'drawn',
          (error: { code: string; message: string }) => `${error.code} ${error.message}`,
        ),
      );
    const own = new OffscreenCanvas(4, 4);
    await bases[0]!.drawTo(features, own);
    await bases[0]!.drawTo(features, own); // the worker has it
    const other = document.createElement('canvas').transferControlToOffscreen();
    await bases[0]!.drawTo(features, other);
    codes.push((await bases[0]!.rgb(features)).length === 4 * features.rows * features.cols);
    features.dispose();
    model.dispose();
    return { differences, codes };
  });
  expect(found.differences.length).toBe(2);
  for (const difference of found.differences) expect(difference).toBeLessThanOrEqual(1);
  expect(found.codes).toEqual([
    expect.stringMatching(/^IMAGE_TYPE PCA\.drawTo: expected a canvas without a context/),
    expect.stringMatching(/^IMAGE_TYPE /),
    expect.stringMatching(/^IMAGE_TYPE /),
    expect.stringMatching(
      /^OPTION_VALUE PCA\.drawTo: expected an HTMLCanvasElement or an OffscreenCanvas, found Object/,
    ),
    expect.stringMatching(/^OPTION_VALUE /),
    true,
  ]);
});
