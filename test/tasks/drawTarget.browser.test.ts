// Pictures drawn on the kinds of canvas of a browser. drawTarget.gpu.test.ts draws on textures.
import { expect, test } from 'vitest';
import { acquireGpu, type Gpu } from '../../src/gpu/device.ts';
import { prepareDraw, type DrawTarget } from '../../src/tasks/drawTarget.ts';
import { Random } from '../random.ts';
import { drawPatches } from '../reference/draw_patches.ts';

type Canvas = HTMLCanvasElement | OffscreenCanvas;

function canvasOf(kind: string, width: number, height: number): Canvas {
  if (kind === 'OffscreenCanvas') return new OffscreenCanvas(width, height);
  return Object.assign(document.createElement('canvas'), { width, height });
}

async function draw(
  gpu: Gpu,
  target: DrawTarget,
  colors: Uint8Array<ArrayBuffer>,
  [rows, cols]: readonly [number, number],
  smooth: boolean,
): Promise<void> {
  const picture = await prepareDraw('test', gpu, target, smooth);
  await gpu.task('test', undefined, (task) => {
    task.burst((burst) =>
      picture(burst, burst.storageOf('colors', new Uint32Array(colors.buffer)), rows, cols),
    );
  });
}

/** Copies what a canvas shows. Must be called in the same frame as the drawing. */
function shown(canvas: Canvas): Uint8ClampedArray {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d')!;
  copy.drawImage(canvas, 0, 0);
  return copy.getImageData(0, 0, canvas.width, canvas.height).data;
}

function opaque(rows: number, cols: number): Uint8Array<ArrayBuffer> {
  const random = new Random(rows);
  return Uint8Array.from({ length: rows * cols * 4 }, (_, i) => (i % 4 === 3 ? 255 : random.integer(0, 255)));
}

test.each(['HTMLCanvasElement', 'OffscreenCanvas'])(
  'draws on an %s, repeatedly and at another size',
  async (kind) => {
    const gpu = await acquireGpu();
    const canvas = canvasOf(kind, 40, 30);
    for (const [rows, cols, width, height] of [
      [5, 7, 40, 30],
      [5, 7, 40, 30],
      [6, 4, 17, 23],
    ] as const) {
      Object.assign(canvas, { width, height });
      for (const bilinear of [false, true]) {
        const colors = opaque(rows, cols);
        await draw(gpu, canvas, colors, [rows, cols], bilinear);
        const expected = drawPatches(colors, [rows, cols], [height, width], { bilinear });
        shown(canvas).forEach((value, i) => expect(Math.abs(value - 255 * expected[i]!)).toBeLessThan(0.61));
      }
      expect([canvas.width, canvas.height]).toEqual([width, height]);
    }
    gpu.release();
  },
);

test('transparent patches are transparent, and half of the colour of their neighbours remains at an edge', async () => {
  const gpu = await acquireGpu();
  const canvas = new OffscreenCanvas(4, 1);
  await draw(gpu, canvas, Uint8Array.of(0, 0, 0, 0, 200, 100, 50, 255), [1, 2], true);
  const pixels = shown(canvas);
  expect([...pixels.subarray(0, 4)]).toEqual([0, 0, 0, 0]);
  expect([...pixels.subarray(12)]).toEqual([200, 100, 50, 255]);
  expect(Math.abs(pixels[11]! - 191)).toBeLessThanOrEqual(1);
  expect(Math.abs(pixels[8]! - 200)).toBeLessThanOrEqual(1); // the colour is not darkened by the transparent black
  gpu.release();
});

test('a canvas that drew for another device is configured again; a context of the page is not', async () => {
  const gpu = await acquireGpu();
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter!.requestDevice();
  const other = await acquireGpu(device);
  const canvas = new OffscreenCanvas(2, 2);
  const colors = Uint8Array.of(1, 2, 3, 255);
  for (const each of [other, gpu]) {
    await draw(each, canvas, colors, [1, 1], false);
    expect([...shown(canvas).subarray(0, 4)]).toEqual([1, 2, 3, 255]);
  }
  const context = new OffscreenCanvas(2, 2).getContext('webgpu')!;
  await expect(draw(gpu, context, colors, [1, 1], false)).rejects.toMatchObject({
    code: 'OPTION_VALUE',
    message: expect.stringContaining('found a context without configuration') as string,
  });
  context.configure({ device, format: 'rgba8unorm' });
  for (const target of [context, context.canvas])
    await expect(draw(gpu, target, colors, [1, 1], false)).rejects.toMatchObject({
      code: 'OPTION_VALUE',
      message: expect.stringContaining('found a context of another device') as string,
    });
  await draw(other, context, colors, [1, 1], false);
  expect(context.getConfiguration()!.format).toBe('rgba8unorm');
  other.release();
  gpu.release();
  device.destroy();
});

test('a canvas with a 2d context, and a canvas without pixels', async () => {
  const gpu = await acquireGpu();
  const flat = new OffscreenCanvas(1, 1);
  flat.getContext('2d');
  await expect(draw(gpu, flat, new Uint8Array(4), [1, 1], false)).rejects.toMatchObject({
    code: 'IMAGE_TYPE',
  });
  await expect(draw(gpu, new OffscreenCanvas(0, 5), new Uint8Array(4), [1, 1], false)).rejects.toMatchObject({
    code: 'OPTION_VALUE',
    message: expect.stringContaining('found 0 × 5') as string,
  });
  gpu.release();
});

test('an old browser without getConfiguration', async () => {
  const gpu = await acquireGpu();
  const canvas = new OffscreenCanvas(2, 2);
  const colors = Uint8Array.of(9, 8, 7, 255);
  const hidden = { value: undefined };
  const context = canvas.getContext('webgpu')!;
  Object.defineProperty(context, 'getConfiguration', hidden);
  for (let frame = 0; frame < 2; frame++) {
    await draw(gpu, canvas, colors, [1, 1], false);
    expect([...shown(canvas).subarray(0, 4)]).toEqual([9, 8, 7, 255]);
  }
  const own = new OffscreenCanvas(2, 2).getContext('webgpu')!;
  Object.defineProperty(own, 'getConfiguration', hidden);
  await expect(draw(gpu, own, colors, [1, 1], false)).rejects.toMatchObject({ code: 'OPTION_VALUE' });
  own.configure({ device: gpu.device, format: 'bgra8unorm' });
  await draw(gpu, own, colors, [1, 1], false);
  gpu.release();
});
