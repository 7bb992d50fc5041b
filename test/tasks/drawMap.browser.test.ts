// GpuPatchMap.drawTo on the canvases of a browser: colours, and no read-back. Prints how long a hover takes.
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import { acquireGpu, type Gpu } from '../../src/gpu/device.ts';
import { configOf } from '../../src/model/config.ts';
import { GpuPatchMap } from '../../src/tasks/gpuPatchMap.ts';
import { PatchMap } from '../../src/tasks/patchMap.ts';
import { PatchSimilarity } from '../../src/tasks/patchSimilarity.ts';
import { Random } from '../random.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await acquireGpu();
});
afterAll(() => gpu.release());

/** A map of the GPU, and the same map in memory. */
function mapsOf(rows: number, cols: number, values: Float32Array<ArrayBuffer>): [GpuPatchMap, PatchMap] {
  const buffer = gpu.memory.storageOf('map', values);
  return [new GpuPatchMap(gpu, rows, cols, buffer), new PatchMap(rows, cols, values)];
}

/** Copies what a canvas shows. Must be called in the same frame as the drawing. */
function shown(canvas: HTMLCanvasElement | OffscreenCanvas): Uint8ClampedArray {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d')!;
  copy.drawImage(canvas, 0, 0);
  return copy.getImageData(0, 0, canvas.width, canvas.height).data;
}

test.each(['HTMLCanvasElement', 'OffscreenCanvas'])(
  'draws the colours of PatchMap.rgba on an %s',
  async (kind) => {
    const [map, inMemory] = mapsOf(5, 7, new Random(3).uniform(35, 2));
    const canvas = kind === 'OffscreenCanvas' ? new OffscreenCanvas(7, 5) : document.createElement('canvas');
    Object.assign(canvas, { width: 7, height: 5 });
    const mapped = vi.spyOn(GPUBuffer.prototype, 'mapAsync');
    try {
      for (const options of [{}, { colormap: 'gray', range: [-1, 0.5] }, { range: [0, 0] }] as const) {
        await map.drawTo(canvas, { ...options, smooth: false });
        const expected = inMemory.rgba(options);
        shown(canvas).forEach((value, i) => expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(1));
      }
      expect(mapped).not.toHaveBeenCalled();
    } finally {
      mapped.mockRestore();
      map.dispose();
    }
  },
);

test('a patch that is NaN is transparent, and read() throws', async () => {
  const [map] = mapsOf(1, 3, Float32Array.of(0, NaN, 1));
  const canvas = new OffscreenCanvas(3, 1);
  await map.drawTo(canvas, { colormap: 'gray', smooth: false });
  expect([...shown(canvas)]).toEqual([0, 0, 0, 255, 0, 0, 0, 0, 255, 255, 255, 255]);
  await expect(map.read()).rejects.toMatchObject({ code: 'INPUT_NOT_FINITE' });
  map.dispose();
  await expect(map.drawTo(canvas)).rejects.toMatchObject({ code: 'DISPOSED' });
});

test.each<[string, object]>([
  ['an unknown colour map', { colormap: 'jet' }],
  ['a range from high to low', { range: [1, 0] }],
  ['an unknown option', { colourmap: 'gray' }],
  ['something else than true and false', { smooth: 'yes' }],
])('%s is refused', async (_, options) => {
  const [map] = mapsOf(1, 2, Float32Array.of(0, 1));
  await expect(map.drawTo(new OffscreenCanvas(2, 1), options)).rejects.toThrow(
    expect.objectContaining({ name: 'OptionError' }),
  );
  map.dispose();
});

const median = (times: number[]): number => times.sort((a, b) => a - b)[times.length >> 1]!;

test('a hover over 37 × 37 patches: from the pointer to the drawn map', async () => {
  // The width of ViT-S. One block, because only the number and the length of the tokens matter here.
  const model = await DINOv2.synthetic({ ...configOf('small'), depth: 1 }, { selfTest: false });
  const side = inject('full') ? 518 : 140;
  const features = await model.forward(new Random(1).uniform(3 * side * side), { height: side, width: side });
  const { rows, cols } = features;
  const random = new Random(2);
  const at = () => ({ row: random.integer(0, rows - 1), col: random.integer(0, cols - 1) });
  const similarity = await PatchSimilarity.read(features);
  const flat = document.createElement('canvas');
  const canvas = Object.assign(document.createElement('canvas'), { width: 518, height: 518 });
  const mapped = vi.spyOn(GPUBuffer.prototype, 'mapAsync');
  const [inMemory, onGpu, done]: [number[], number[], number[]] = [[], [], []];
  try {
    for (let round = 0; round < 12; round++) {
      let start = performance.now();
      similarity.map(at()).draw(flat, { range: [0, 1] });
      inMemory.push(performance.now() - start);
      start = performance.now();
      const map = await features.similarity(at());
      await map.drawTo(canvas, { range: [0, 1] });
      onGpu.push(performance.now() - start);
      await model.device.queue.onSubmittedWorkDone();
      done.push(performance.now() - start);
      map.dispose();
    }
    expect(mapped).not.toHaveBeenCalled();
  } finally {
    mapped.mockRestore();
    features.dispose();
    model.dispose();
  }
  console.log(
    `${rows} × ${cols} patches: PatchSimilarity and draw ${median(inMemory).toFixed(1)} ms; similarity and drawTo ` +
      `${median(onGpu).toFixed(1)} ms until the calls resolve, ${median(done).toFixed(1)} ms until the GPU is done; 0 reads`,
  );
});
