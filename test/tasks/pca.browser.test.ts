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
      const pca = await PCA.fit(features);
      await pca.draw(features, canvas);
      expect([canvas.width, canvas.height]).toEqual([cols, rows]);
      const context = canvas.getContext('2d') as CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;
      expect(context.getImageData(0, 0, cols, rows).data).toEqual(await pca.rgb(features));
      features.gpu.memory.destroy(features.buffer);
    }
  },
);

test('draws at another size', async () => {
  const features = await someFeatures(5, 7);
  const pca = await PCA.fit(features);
  for (const options of [
    { width: 30, height: 20 },
    { scale: 3, smooth: false },
  ]) {
    const canvas = new OffscreenCanvas(1, 1);
    await pca.draw(features, canvas, options);
    const { width, height } = canvas;
    expect([width, height]).toEqual(options.scale ? [21, 15] : [30, 20]);
    const { data } = canvas.getContext('2d')!.getImageData(0, 0, width, height);
    expect(data).toEqual(await pca.rgb(features, options));
  }
  features.gpu.memory.destroy(features.buffer);
});

test('drawTo draws the picture of rgb, and reads nothing back', async () => {
  const features = await someFeatures(6, 8);
  const pca = await PCA.fit(features, { recipe: 'whitened' });
  const pixels = await pca.rgb(features, { width: 32, height: 24 });
  const trapped: string[] = [];
  const restore = [
    trap(GPUBuffer.prototype, 'mapAsync', trapped),
    trap(OffscreenCanvasRenderingContext2D.prototype, 'getImageData', trapped),
    trap(CanvasRenderingContext2D.prototype, 'getImageData', trapped),
  ];
  const canvas = new OffscreenCanvas(32, 24);
  await pca.drawTo(features, canvas);
  for (const undo of restore) undo();
  expect(trapped).toEqual([]);
  const copy = new OffscreenCanvas(32, 24).getContext('2d')!;
  copy.drawImage(canvas, 0, 0);
  copy
    .getImageData(0, 0, 32, 24)
    .data.forEach((value, i) => expect(Math.abs(value - pixels[i]!)).toBeLessThanOrEqual(1));
  features.gpu.memory.destroy(features.buffer);
});

/** Notes the calls of a method. Returns a function that restores the method. */
function trap<Owner extends object>(owner: Owner, name: keyof Owner & string, calls: string[]): () => void {
  const original = Object.getOwnPropertyDescriptor(owner, name)!;
  const method = original.value as (...args: unknown[]) => unknown;
  Object.defineProperty(owner, name, {
    ...original,
    value(this: unknown, ...args: unknown[]) {
      calls.push(name);
      return Reflect.apply(method, this, args);
    },
  });
  return () => void Object.defineProperty(owner, name, original);
}

test('a PNG is decoded by the browser to the same pixels', async () => {
  const features = await someFeatures(5, 7);
  const pca = await PCA.fit(features);
  const bitmap = await createImageBitmap(await pca.png(features, { scale: 4 }), {
    colorSpaceConversion: 'none',
  });
  const copy = new OffscreenCanvas(28, 20).getContext('2d')!;
  copy.drawImage(bitmap, 0, 0);
  expect(copy.getImageData(0, 0, 28, 20).data).toEqual(await pca.rgb(features, { scale: 4 }));
  features.gpu.memory.destroy(features.buffer);
});

test('transparent pixels stay transparent', async () => {
  const features = await someFeatures(8, 8);
  const pca = await PCA.fit(features, { foreground: 'auto' });
  const canvas = new OffscreenCanvas(8, 8);
  await pca.draw(features, canvas, { background: 'transparent' });
  const { data } = canvas.getContext('2d')!.getImageData(0, 0, 8, 8);
  const alphas = new Set(data.filter((_, i) => i % 4 === 3));
  expect([...alphas].sort()).toEqual([0, 255]);
  features.gpu.memory.destroy(features.buffer);
});

test('a canvas with another context is an error that says so', async () => {
  const features = await someFeatures(2, 3);
  const pca = await PCA.fit(features);
  const canvas = new OffscreenCanvas(1, 1);
  canvas.getContext('webgl');
  await expect(pca.draw(features, canvas)).rejects.toMatchObject({ code: 'IMAGE_TYPE' });
  features.gpu.memory.destroy(features.buffer);
});
