// Tracking: against float64, and on a square that moves over a texture.
import { afterEach, describe, expect, test, vi } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import { GpuPatchMap } from '../../src/tasks/gpuPatchMap.ts';
import { PatchMap } from '../../src/tasks/patchMap.ts';
import type { PatchFeatures } from '../../src/tasks/patchMatrix.ts';
import { PatchTracker, type TrackerMask, type TrackerOptions } from '../../src/tasks/tracking.ts';
import { sharedDevice, sharedGpu } from '../gpu/sharedDevice.ts';
import { settled } from '../gpu/tiny.ts';
import { tinyConfig } from '../model/outputs.ts';
import { Random } from '../random.ts';
import * as reference from '../reference/propagate_labels.ts';
import { pictureOf, plantedFeatures, stripes, type Shape } from './plantedFeatures.ts';

/** The error of similarities, about 1e-7, divided by the temperature, and summed over the frames. */
const LABEL = 2e-5;

const gpu = await sharedGpu();
const made: { dispose(): void }[] = [];
afterEach(async () => {
  for (const each of made.splice(0)) each.dispose();
  await settled();
  expect(gpu.uncaptured).toBeUndefined();
  expect(gpu.memory.buffers).toBe(0);
});

function planted(patches: ArrayLike<number>, shape: Shape): PatchFeatures {
  const features = plantedFeatures(gpu, patches, shape);
  made.push({ dispose: () => gpu.memory.destroy(features.buffer) });
  return features;
}

async function start(features: PatchFeatures, options: TrackerOptions): Promise<PatchTracker> {
  const tracker = await PatchTracker.start(features, options);
  made.push(tracker);
  return tracker;
}

async function strengthsOf(
  tracker: PatchTracker,
  features: PatchFeatures,
  batchIndex = 0,
): Promise<Float32Array> {
  using map = await tracker.next(features, { batchIndex });
  expect([map.rows, map.cols]).toEqual([tracker.rows, tracker.cols]);
  return (await map.read()).values;
}

describe('equals float64', () => {
  test.each([
    [4, 5, 64, { contextFrames: 2, topK: 5, radius: 12, temperature: 0.1, minSimilarity: 0 }],
    [3, 7, 36, { contextFrames: 0, topK: 2, radius: 1, temperature: 0.5, minSimilarity: -1 }],
    [5, 3, 128, { contextFrames: 3, topK: 7, radius: 2, temperature: 0.05, minSimilarity: 0.1 }],
    [1, 2, 4, {}],
  ])('%i × %i patches of %i channels, %o', async (rows, cols, embedDim, options) => {
    const settings = {
      contextFrames: 7,
      topK: 5,
      radius: 12,
      temperature: 0.1,
      minSimilarity: 0,
      ...options,
    };
    const random = new Random(embedDim);
    const patches = rows * cols;
    const shape = { rows, cols, embedDim, batch: 2, numRegisterTokens: 1 };
    // Neighbouring frames resemble each other: noise is added to the frame before.
    const frames = [random.uniform(patches * embedDim)];
    for (let i = 1; i < 7; i++) frames.push(frames[i - 1]!.map((value) => value + (2 * random.next() - 1)));
    const labels = random.uniform(patches).map(Math.abs);
    const both = (frame: Float32Array): Float32Array =>
      Float32Array.of(...random.uniform(frame.length), ...frame);
    const tracker = await start(planted(both(frames[0]!), shape), {
      ...options,
      mask: new PatchMap(rows, cols, labels),
      threshold: 0,
      batchIndex: 1,
    });
    const context: reference.ContextFrame[] = [
      { patches: reference.unitPatches(frames[0]!, embedDim), labels },
    ];
    for (const frame of frames.slice(1)) {
      const own = reference.unitPatches(frame, embedDim);
      const [first, ...others] = context;
      const recent = settings.contextFrames > 0 ? others.slice(-settings.contextFrames) : [];
      const expected = reference.propagateLabels(own, [first!, ...recent], { rows, cols, ...settings });
      const found = await strengthsOf(tracker, planted(both(frame), shape), 1);
      found.forEach((label, i) => expect(Math.abs(label - expected[i]!)).toBeLessThan(LABEL));
      context.push({ patches: own, labels: expected });
    }
  });

  test('in many short submits and in one, bit for bit, with two calls at a time', async () => {
    const random = new Random(2);
    const shape = { rows: 4, cols: 5, embedDim: 16 };
    const frames = Array.from({ length: 5 }, () => planted(random.uniform(320), shape));
    const run = async (): Promise<Float32Array[]> => {
      const tracker = await start(frames[0]!, { mask: { row: 1, col: 1, rows: 2, cols: 2 }, threshold: 0 });
      const maps = await Promise.all(frames.slice(1).map((each) => tracker.next(each)));
      made.push(...maps);
      return Promise.all(maps.map(async (map) => (await map.read()).values));
    };
    const together = await run();
    Object.defineProperty(gpu, 'flopsPerSecond', { value: 1, configurable: true }); // an extremely slow adapter
    try {
      expect(await run()).toEqual(together);
    } finally {
      delete (gpu as { flopsPerSecond?: number }).flopsPerSecond;
    }
  });
});

describe('a square that moves over a texture, in pictures through a model with synthetic weights', () => {
  const random = new Random(11);
  const ground = stripes(random, { angle: 0.4, period: 10, color: [90, 120, 140] });
  const square = stripes(random, { angle: 1.8, period: 7, color: [180, 100, 70] });
  const [size, side, grid, patchSize] = [112, 42, 8, 14];
  interface Place {
    readonly x: number;
    readonly y: number;
  }
  /** The square at a place of whole pixels, which need not be whole patches. Undefined: no square. */
  const frame = (place: Place | undefined) =>
    pictureOf(size, size, (x, y) => {
      const [inX, inY] = place ? [x - place.x, y - place.y] : [-1, -1];
      return inX >= 0 && inY >= 0 && inX < side && inY < side ? square(inX, inY) : ground(x, y);
    });
  /** A path with steps of up to 12 pixels, almost a patch. */
  const path = Array.from({ length: 21 }, (_, i) => ({
    x: Math.round(35 - 35 * Math.cos(i / 3)),
    y: Math.round(35 + 35 * Math.sin(i / 3)),
  }));
  const [first, ...others] = path as [Place, ...Place[]];
  /** The share of a patch that the square covers. */
  const shareOf = (patch: number, { x, y }: Place): number => {
    const overlap = (start: number, from: number): number =>
      Math.max(0, Math.min(start + patchSize, from + side) - Math.max(start, from));
    return (
      (overlap((patch % grid) * patchSize, x) * overlap(Math.floor(patch / grid) * patchSize, y)) /
      patchSize ** 2
    );
  };
  const positionOf = (patch: number) => ({ row: Math.floor(patch / grid), col: patch % grid });
  const patches = Array.from({ length: grid * grid }, (_, patch) => patch);
  const onFirst = patches.filter((patch) => shareOf(patch, first) > 0.5);

  const load = async (): Promise<DINOv2> => {
    const model = await DINOv2.synthetic(tinyConfig('registers'), {
      device: await sharedDevice(),
      selfTest: false,
    });
    made.push(model);
    return model;
  };
  const featuresOf = (model: DINOv2, place: Place | undefined) =>
    model.features(frame(place), { resize: 'square', size });

  test('the mask and a picked patch are found on the square in each of 20 frames', async () => {
    const model = await load();
    const begin = await featuresOf(model, first);
    const ofMask = await start(begin, { mask: onFirst.map(positionOf) });
    // The picked patch, by a pixel in it.
    const pick = {
      x: ((onFirst[4]! % grid) + 0.4) * patchSize,
      y: (Math.floor(onFirst[4]! / grid) + 0.7) * patchSize,
    };
    const ofPatch = await start(begin, { mask: pick });
    begin.dispose(); // the trackers have copies
    for (const place of others) {
      using features = await featuresOf(model, place);
      const labels = await strengthsOf(ofMask, features);
      for (const patch of patches) {
        const share = shareOf(patch, place);
        const where = `patch ${patch} at ${JSON.stringify(place)}, ${share} on the square: ${labels[patch]}`;
        if (share === 1) expect(labels[patch], where).toBeGreaterThan(0);
        if (share === 0) expect(labels[patch], where).toBe(0);
      }
      const ofOne = await strengthsOf(ofPatch, features);
      const strongest = ofOne.indexOf(Math.max(...ofOne));
      expect(ofOne[strongest]).toBeGreaterThan(0);
      expect(shareOf(strongest, place)).toBeGreaterThan(0.5);
      for (const patch of patches) if (ofOne[patch]! > 0) expect(shareOf(patch, place)).toBeGreaterThan(0);
    }
  });

  test('an object that is lost gives an empty mask, and is found when it is back', async () => {
    const model = await load();
    using begin = await featuresOf(model, first);
    const tracker = await start(begin, { mask: onFirst.map(positionOf), contextFrames: 3 });
    for (let i = 0; i < 6; i++) {
      using features = await featuresOf(model, undefined);
      expect(Math.max(...(await strengthsOf(tracker, features)))).toBe(0);
    }
    for (const place of others.slice(0, 3)) {
      using features = await featuresOf(model, place);
      const labels = await strengthsOf(tracker, features);
      for (const patch of patches) {
        if (shareOf(patch, place) === 1) expect(labels[patch]).toBeGreaterThan(0);
        if (shareOf(patch, place) === 0) expect(labels[patch]).toBe(0);
      }
    }
  });
});

describe('masks', () => {
  const shape = { rows: 3, cols: 4, embedDim: 8 };
  const random = new Random(4);
  const tokens = random.uniform(12 * 8);

  test('a map, a rectangle, a list and a map on the GPU give the same labels', async () => {
    const features = planted(tokens, shape);
    const values = Float32Array.from({ length: 12 }, (_, i) => ([1, 2, 5, 6].includes(i) ? 1 : 0));
    const map = new PatchMap(3, 4, values);
    const copy = gpu.memory.storageOf('mask', values);
    const onGpu = new GpuPatchMap(gpu, 3, 4, copy);
    made.push(onGpu);
    const masks: TrackerMask[] = [
      map,
      onGpu,
      { row: 0, col: 1, rows: 2, cols: 2 },
      [
        { row: 0, col: 1, rows: 2, cols: 1 },
        { row: 0, col: 2, rows: 2, cols: 1 },
      ],
      [
        { row: 1, col: 2 },
        { row: 0, col: 2 },
        { row: 1, col: 1 },
        { row: 0, col: 1 },
      ],
    ];
    const found: Float32Array[] = [];
    for (const mask of masks)
      found.push(await strengthsOf(await start(features, { mask, threshold: 0 }), features));
    expect(Math.max(...found[0]!)).toBeGreaterThan(0.5);
    for (const each of found) expect(each).toEqual(found[0]);
    for (const mask of [{ row: 1, col: 2 }, [{ row: 1, col: 2 }]] satisfies TrackerMask[])
      expect((await strengthsOf(await start(features, { mask, topK: 1 }), features)).indexOf(1)).toBe(6);
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['no mask', {}, /mask: expected the object in the first frame, found nothing/],
    ['an empty list', { mask: [] }, /at least one patch/],
    ['a map of zeros', { mask: new PatchMap(3, 4, new Float32Array(12)) }, /at least one patch/],
    [
      'a map of another size',
      { mask: new PatchMap(4, 3, new Float32Array(12).fill(1)) },
      /3 × 4 patches, found 4 × 3/,
    ],
    [
      'a label above 1',
      { mask: new PatchMap(3, 4, new Float32Array(12).fill(2)) },
      /labels from 0 to 1, found 2/,
    ],
    [
      'a label that is NaN',
      { mask: new PatchMap(3, 4, new Float32Array(12).fill(NaN)) },
      /labels from 0 to 1, found NaN/,
    ],
    ['too few values', { mask: { rows: 3, cols: 4, values: new Float32Array(3) } }, /3 × 4 labels, found 3/],
    ['a patch outside', { mask: { row: 3, col: 0 } }, /3 × 4 grid.*row 3/],
    [
      'a rectangle that leaves the frame',
      { mask: { row: 1, col: 1, rows: 1, cols: 4 } },
      /patches of the 3 × 4 grid.*1 × 4 patches/,
    ],
    ['half a patch', { mask: [{ row: 0.5, col: 0 }] }, /row 0.5/],
    ['a text', { mask: 'square' }, /found string/],
    ['another object', { mask: {} }, /found another object/],
    ['contextFrames', { mask: { row: 0, col: 0 }, contextFrames: -1 }, /contextFrames: .*0 to 64/],
    ['topK', { mask: { row: 0, col: 0 }, topK: 33 }, /topK: .*1 to 32/],
    ['radius', { mask: { row: 0, col: 0 }, radius: 1.5 }, /radius/],
    ['temperature', { mask: { row: 0, col: 0 }, temperature: 0 }, /temperature/],
    ['minSimilarity', { mask: { row: 0, col: 0 }, minSimilarity: 2 }, /minSimilarity: .*-1 to 1/],
    ['threshold', { mask: { row: 0, col: 0 }, threshold: NaN }, /threshold: .*0 to 1/],
    ['batchIndex', { mask: { row: 0, col: 0 }, batchIndex: 1 }, /batchIndex: .*0 to 0, found 1/],
  ])('refused: %s', async (_, options, message) => {
    const error = await PatchTracker.start(planted(tokens, shape), options as never).catch(
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({ code: 'OPTION_VALUE', message: expect.stringMatching(message) as string });
  });
});

describe('a tracker', () => {
  const shape = { rows: 3, cols: 4, embedDim: 8 };
  const random = new Random(6);
  const [a, b] = [random.uniform(12 * 8), random.uniform(12 * 8)];
  const mask = { row: 0, col: 0, rows: 2, cols: 2 };
  const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => 'no error',
      (error: { code?: string }) => error.code ?? error,
    );

  test('reads nothing from the GPU, and frees its memory', async () => {
    const features = planted(a, shape);
    const before = gpu.memory.bytes;
    const read = vi.spyOn(gpu, 'read');
    const tracker = await PatchTracker.start(features, { mask });
    const bytes = gpu.memory.bytes;
    const maps = [];
    for (let i = 0; i < 20; i++) maps.push(await tracker.next(features));
    expect(read).not.toHaveBeenCalled();
    read.mockRestore();
    expect(gpu.memory.bytes - bytes).toBe(20 * 12 * 4); // the maps; the context does not grow
    tracker.dispose();
    tracker.dispose();
    expect(await codeOf(tracker.next(features))).toBe('DISPOSED');
    expect((await maps[19]!.read()).values.length).toBe(12); // maps outlive the tracker
    for (const each of maps) each.dispose();
    expect(gpu.memory.bytes).toBe(before);
  });

  test('refuses frames of another size, model or batch, and unknown options; the next frame is not affected', async () => {
    const tracker = await start(planted(a, shape), { mask });
    const other = await start(planted(a, shape), { mask });
    const wider = planted(a, { ...shape, rows: 4, cols: 3 });
    expect(await codeOf(tracker.next(wider))).toBe('OPTION_VALUE');
    await expect(tracker.next(wider)).rejects.toThrow(/3 × 4 patches.*found 4 × 3/);
    expect(await codeOf(tracker.next(planted(a, { ...shape, rows: 6, embedDim: 4 })))).toBe('OPTION_VALUE');
    const features = planted(b, shape);
    expect(await codeOf(tracker.next(features, { batchIndex: 1 }))).toBe('OPTION_VALUE');
    expect(await codeOf(tracker.next(features, { frame: 1 } as never))).toBe('OPTION_NAME');
    expect(await codeOf(tracker.next(features, { signal: AbortSignal.abort('enough') }))).toBe('enough');
    expect(await strengthsOf(tracker, features)).toEqual(await strengthsOf(other, features));
  });

  test('an abort between submits leaves the frame out', async () => {
    const [tracker, other] = [
      await start(planted(a, shape), { mask, threshold: 0 }),
      await start(planted(a, shape), { mask, threshold: 0 }),
    ];
    const [features, later] = [planted(b, shape), planted(a.toReversed(), shape)];
    for (const each of [tracker, other]) await strengthsOf(each, features);
    Object.defineProperty(gpu, 'flopsPerSecond', { value: 1, configurable: true });
    try {
      const controller = new AbortController();
      const aborted = codeOf(tracker.next(later, { signal: controller.signal }));
      await Promise.resolve();
      controller.abort('enough');
      expect(await aborted).toBe('enough');
    } finally {
      delete (gpu as { flopsPerSecond?: number }).flopsPerSecond;
    }
    expect(await strengthsOf(tracker, later)).toEqual(await strengthsOf(other, later));
  });

  test('disposed of during a call: the call fails, and the memory is freed', async () => {
    const features = planted(a, shape);
    const before = gpu.memory.bytes;
    const tracker = await PatchTracker.start(features, { mask });
    Object.defineProperty(gpu, 'flopsPerSecond', { value: 1, configurable: true });
    try {
      (await tracker.next(features)).dispose();
      const pending = codeOf(tracker.next(features));
      tracker.dispose();
      expect(await pending).toBe('DISPOSED');
    } finally {
      delete (gpu as { flopsPerSecond?: number }).flopsPerSecond;
    }
    expect(gpu.memory.bytes).toBe(before);
  });
});
