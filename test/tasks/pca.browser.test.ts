// PCA.draw on the kinds of canvas of a browser. pca.gpu.test.ts tests the pixels that it draws.
import { expect, test } from 'vitest';
import { acquireGpu } from '../../src/gpu/device.ts';
import { PCA, type PatchFeatures } from '../../src/tasks/pca.ts';
import { Random } from '../random.ts';

async function someFeatures(rows: number, cols: number): Promise<PatchFeatures> {
  const gpu = await acquireGpu();
  const embedDim = 64;
  const numTokens = 1 + rows * cols;
  return {
    gpu,
    buffer: gpu.memory.storageOf('features', new Random(1).uniform(numTokens * embedDim)),
    batch: 1,
    numTokens,
    numRegisterTokens: 0,
    rows,
    cols,
    embedDim,
  };
}

test.each(['HTMLCanvasElement', 'OffscreenCanvas'])(
  'draws on an %s, repeatedly and at another size',
  async (kind) => {
    const canvas = kind === 'OffscreenCanvas' ? new OffscreenCanvas(1, 1) : document.createElement('canvas');
    for (const [rows, cols] of [
      [5, 7],
      [5, 7],
      [6, 4],
    ] as const) {
      const features = await someFeatures(rows, cols);
      const pca = await PCA.fit(features, { foreground: 'none' });
      await pca.draw(features, canvas);
      expect([canvas.width, canvas.height]).toEqual([cols, rows]);
      const context = canvas.getContext('2d') as CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;
      expect(context.getImageData(0, 0, cols, rows).data).toEqual(await pca.rgb(features));
      features.gpu.memory.destroy(features.buffer);
    }
  },
);

test('transparent pixels stay transparent', async () => {
  const features = await someFeatures(8, 8);
  const pca = await PCA.fit(features);
  const canvas = new OffscreenCanvas(8, 8);
  await pca.draw(features, canvas, { background: 'transparent' });
  const { data } = canvas.getContext('2d')!.getImageData(0, 0, 8, 8);
  const alphas = new Set(data.filter((_, i) => i % 4 === 3));
  expect([...alphas].sort()).toEqual([0, 255]);
  features.gpu.memory.destroy(features.buffer);
});

test('a canvas with another context is an error that says so', async () => {
  const features = await someFeatures(2, 3);
  const pca = await PCA.fit(features, { foreground: 'none' });
  const canvas = new OffscreenCanvas(1, 1);
  canvas.getContext('webgl');
  await expect(pca.draw(features, canvas)).rejects.toMatchObject({ code: 'IMAGE_TYPE' });
  features.gpu.memory.destroy(features.buffer);
});
