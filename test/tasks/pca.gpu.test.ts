import { readFileSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parseSafetensors } from '../../src/safetensors.ts';
import { acquireGpu, type Gpu } from '../../src/gpu/device.ts';
import { dot } from '../../src/numerics/eigen.ts';
import { PCA, type PatchFeatures, type PcaJSON } from '../../src/tasks/pca.ts';
import { PatchMatrix } from '../../src/tasks/patchMatrix.ts';
import { Random } from '../random.ts';
import { angleBetween, covariance, jacobi, pcaCenter } from '../reference/pca.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { requestDevice } from '../gpu/tiny.ts';

/** Allowed angle error in degrees, as documented. The iteration stops at an estimate of 0.011. */
const ANGLE = 0.02;
/** Allowed relative error of a variance: the square of the angle error of its direction, and f32 roundings. */
const VARIANCE = 1e-5;
/** Allowed error of inner products of unit vectors that were rounded to f32. */
const ORTHONORMAL = 1e-6;

let gpu: Gpu;
const made: GPUBuffer[] = [];
beforeAll(async () => {
  gpu = await sharedGpu();
});
afterEach(() => {
  for (const buffer of made.splice(0)) gpu.memory.destroy(buffer);
  expect(gpu.uncaptured).toBeUndefined();
  expect(gpu.memory.bytes).toBe(0);
  expect(gpu.memory.buffers).toBe(0);
});

interface Shape {
  readonly rows: number;
  readonly cols: number;
  readonly embedDim: number;
  readonly batch?: number;
  readonly numRegisterTokens?: number;
}

/**
 * Features with these patch tokens (batch, rows · cols, embedDim). The other tokens have huge values, so that reading
 * one of them is noticed.
 */
function featuresOf(
  patches: ArrayLike<number>,
  { rows, cols, embedDim, batch = 1, numRegisterTokens = 0 }: Shape,
): PatchFeatures {
  const before = 1 + numRegisterTokens;
  const numTokens = before + rows * cols;
  const all = new Float32Array(batch * numTokens * embedDim).fill(1e6);
  const image = rows * cols * embedDim;
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < image; i++) all[(b * numTokens + before) * embedDim + i] = patches[b * image + i]!;
  }
  const buffer = gpu.memory.storageOf('features', all);
  made.push(buffer);
  return { gpu, buffer, batch, numTokens, numRegisterTokens, rows, cols, embedDim };
}

/**
 * Patches around a mean that is larger than their spread, with variances k^-exponent along random directions.
 */
function powerLaw(count: number, dim: number, exponent: number, seed: number): Float32Array<ArrayBuffer> {
  const random = new Random(seed);
  const mean = random.uniform(dim, 3);
  const out = new Float64Array(count * dim);
  for (let k = 0; k < Math.min(count, dim); k++) {
    const direction = random.uniform(dim);
    const scores = random.uniform(count, 5 * (k + 1) ** (-exponent / 2));
    for (let p = 0; p < count; p++)
      for (let i = 0; i < dim; i++) out[p * dim + i]! += (scores[p]! * direction[i]!) / Math.sqrt(dim);
  }
  return Float32Array.from(out, (value, i) => value + mean[i % dim]!);
}

const rowOf = (values: Float32Array, k: number, dim: number): Float32Array =>
  values.subarray(k * dim, (k + 1) * dim);
const all = (count: number): Uint32Array<ArrayBuffer> => new Uint32Array(count).fill(1);

function reference(name: string): {
  readonly tokens: Float32Array<ArrayBuffer>;
  readonly count: number;
  readonly dim: number;
} {
  const bytes = new Uint8Array(
    readFileSync(new URL(`../fixtures/reference/${name}.safetensors`, import.meta.url)),
  );
  const { begin, end, shape } = parseSafetensors(bytes).tensors.get('last_hidden_state')!;
  const [, numTokens, dim] = shape as [number, number, number];
  return { tokens: new Float32Array(bytes.slice(begin, end).buffer).slice(dim), count: numTokens - 1, dim };
}

/**
 * A subject (a disc in the upper middle) on a background, each with its own gradient: the input that
 * `foreground: 'auto'` is designed for.
 */
function scene(
  rows: number,
  cols: number,
  dim: number,
  seed: number,
): { readonly patches: Float32Array<ArrayBuffer>; readonly subject: Uint32Array<ArrayBuffer> } {
  const random = new Random(seed);
  const directions = Array.from({ length: 6 }, () => random.uniform(dim));
  const subject = Uint32Array.from({ length: rows * cols }, (_, i) =>
    Math.hypot(Math.floor(i / cols) / rows - 0.45, (i % cols) / cols - 0.5) < 0.3 ? 1 : 0,
  );
  const patches = new Float32Array(rows * cols * dim);
  subject.forEach((inside, p) => {
    const [y, x] = [Math.floor(p / cols) / rows, (p % cols) / cols];
    const scores = inside ? [3, 4 * y, 3 * x, 2 * x * y, 0, 0] : [-3, 0, 0, 0, 2 * x, 2 * y];
    for (let i = 0; i < dim; i++) {
      patches[p * dim + i] =
        scores.reduce((sum, score, k) => sum + score * directions[k]![i]!, 0) + 0.1 * (2 * random.next() - 1);
    }
  });
  return { patches, subject };
}

describe('components', () => {
  const cases: readonly [string, number, number, number][] = [
    ['spectrum k^-2', 16, 16, 2],
    ['spectrum k^-1', 16, 16, 1],
    ['spectrum k^-0.5', 16, 16, 0.5],
    ['spectrum k^-1, more patches than channels', 23, 32, 1],
  ];
  it.each(cases)("equal Jacobi's within 0.02°: %s", async (_, rows, cols, exponent) => {
    const dim = 128;
    const patches = powerLaw(rows * cols, dim, exponent, 17);
    const pca = await PCA.fit(featuresOf(patches, { rows, cols, embedDim: dim, numRegisterTokens: 4 }), {
      foreground: 'none',
    });
    const { values, vectors } = jacobi(covariance(patches, all(rows * cols), dim), dim);
    const total = values.reduce((sum, value) => sum + value, 0);
    for (let k = 0; k < 3; k++) {
      const component = rowOf(pca.components, k, dim);
      expect(angleBetween(component, vectors[k]!)).toBeLessThan(ANGLE);
      expect(pca.explainedVariance[k]! / ((values[k]! * rows * cols) / (rows * cols - 1))).toBeCloseTo(
        1,
        -Math.log10(VARIANCE),
      );
      expect(pca.explainedVarianceRatio[k]! / (values[k]! / total)).toBeCloseTo(1, -Math.log10(VARIANCE));
      for (let j = 0; j < 3; j++)
        expect(Math.abs(dot(component, rowOf(pca.components, j, dim)) - (j === k ? 1 : 0))).toBeLessThan(
          ORTHONORMAL,
        );
      expect(component.reduce((sum, value) => sum + value ** 3, 0)).toBeGreaterThan(0);
    }
    const { mean } = pcaCenter(patches, all(rows * cols), dim, 1);
    pca.mean.forEach((value, i) => expect(Math.abs(value - mean[i]!)).toBeLessThan(1e-6));
    expect(pca.foreground).toBeUndefined();
  });

  it("equal Jacobi's on features of a transformer, whose neighbouring variances differ by only 1 %", async () => {
    const { tokens, count, dim } = reference('small.expected.224x224');
    const image = featuresOf(tokens, { rows: 16, cols: 16, embedDim: dim });
    await gpu.task('test', undefined, async (task) => {
      const matrix = await PatchMatrix.create(task, [image]);
      const { components } = await matrix.analyse(all(count), 3);
      const oracle = jacobi(pcaCenter(tokens, all(count), dim, 1).x, dim); // 256 rows, fewer than the 384 of the covariance
      components.forEach(({ vector, error }, k) => {
        const angle = angleBetween(vector, oracle.vectors[k]!);
        expect(angle).toBeLessThan(ANGLE);
        // The error estimate that ends the iteration is at least half of the true error, up to rounding.
        expect((error * 180) / Math.PI).toBeGreaterThan(angle / 2 - 1e-4);
      });
    });
  });

  it('of chosen patches equal those of a matrix with only these patches', async () => {
    const [rows, cols, dim] = [9, 11, 64];
    const patches = powerLaw(rows * cols, dim, 1, 3);
    const random = new Random(4);
    const chosen = Uint32Array.from({ length: rows * cols }, () => random.integer(0, 1));
    const image = featuresOf(patches, { rows, cols, embedDim: dim });
    await gpu.task('test', undefined, async (task) => {
      const matrix = await PatchMatrix.create(task, [image]);
      await matrix.analyse(all(rows * cols), 1); // a fit also centres the matrix before
      const { components } = await matrix.analyse(chosen, 3);
      const oracle = jacobi(covariance(patches, chosen, dim), dim);
      components.forEach(({ vector, variance }, k) => {
        expect(angleBetween(vector, oracle.vectors[k]!)).toBeLessThan(ANGLE);
        expect(variance / oracle.values[k]!).toBeCloseTo(1, -Math.log10(VARIANCE));
      });
    });
  });
});

describe('one basis for several images', () => {
  it('is computed from all their patches, in a batch, alone or in two sizes', async () => {
    const dim = 64;
    const [a, b] = [powerLaw(30, dim, 1, 1), powerLaw(30, dim, 1, 2)];
    const both = Float32Array.from([...a, ...b]);
    const shape = { rows: 5, cols: 6, embedDim: dim };
    const batch = await PCA.fit(featuresOf(both, { ...shape, batch: 2, numRegisterTokens: 4 }), {
      foreground: 'none',
    });
    const list = await PCA.fit([featuresOf(a, { ...shape, rows: 3, cols: 10 }), featuresOf(b, shape)], {
      foreground: 'none',
    });
    expect(JSON.stringify(list)).toBe(JSON.stringify(batch));
    const { vectors } = jacobi(covariance(both, all(60), dim), dim);
    for (let k = 0; k < 3; k++)
      expect(angleBetween(rowOf(batch.components, k, dim), vectors[k]!)).toBeLessThan(ANGLE);
  });

  it('draws each image of a batch the same as alone', async () => {
    const dim = 64;
    const patches = powerLaw(60, dim, 1, 5);
    const shape = { rows: 5, cols: 6, embedDim: dim };
    const batch = featuresOf(patches, { ...shape, batch: 2, numRegisterTokens: 1 });
    const pca = await PCA.fit(batch);
    const pictures = [await pca.rgb(batch), await pca.rgb(batch, { batchIndex: 1 })];
    for (const b of [0, 1])
      expect(await pca.rgb(featuresOf(patches.subarray(b * 30 * dim), shape))).toEqual(pictures[b]);
    expect(pictures[0]).not.toEqual(pictures[1]);
  });
});

describe('foreground', () => {
  const [rows, cols, dim] = [18, 20, 96];
  const { patches, subject } = scene(rows, cols, dim, 21);
  const opaque = (pixels: Uint8ClampedArray): number[] =>
    Array.from({ length: pixels.length / 4 }, (_, p) => (pixels[4 * p + 3] === 255 ? 1 : 0));

  it('auto: colours only the subject, by its own components', async () => {
    const features = featuresOf(patches, { rows, cols, embedDim: dim });
    const pca = await PCA.fit(features, { recipe: 'paper' });
    const pixels = await pca.rgb(features, { background: 'transparent' });
    expect(opaque(pixels)).toEqual([...subject]);
    const black = await pca.rgb(features);
    subject.forEach((inside, p) =>
      expect([...black.subarray(4 * p, 4 * p + 4)]).toEqual(
        inside ? [...pixels.subarray(4 * p, 4 * p + 4)] : [0, 0, 0, 255],
      ),
    );
    const { vectors } = jacobi(covariance(patches, subject, dim), dim);
    for (let k = 0; k < 3; k++)
      expect(angleBetween(rowOf(pca.components, k, dim), vectors[k]!)).toBeLessThan(ANGLE);

    // Each channel spans its whole range over the subject. 1 % at either end is clipped.
    const total = subject.reduce((sum, inside) => sum + inside, 0);
    for (let k = 0; k < 3; k++) {
      const channel = [...subject].flatMap((inside, p) => (inside ? [pixels[4 * p + k]!] : []));
      for (const end of [0, 255]) {
        const share = channel.filter((value) => value === end).length / total;
        expect(share).toBeGreaterThan(0);
        expect(share).toBeLessThan(0.03);
      }
    }
    const colored = await pca.rgb(features, { background: 'colored' });
    expect(opaque(colored)).toEqual(opaque(black));
    expect(colored).not.toEqual(black);
  });

  it('auto: selects the same side for negated features', async () => {
    const features = featuresOf(
      patches.map((value) => -value),
      { rows, cols, embedDim: dim },
    );
    expect(
      opaque(
        await (await PCA.fit(features, { recipe: 'paper' })).rgb(features, { background: 'transparent' }),
      ),
    ).toEqual([...subject]);
  });

  it('inverted: selects the other side', async () => {
    const features = featuresOf(patches, { rows, cols, embedDim: dim });
    const pca = await PCA.fit(features, { foreground: 'inverted' });
    expect(opaque(await pca.rgb(features, { background: 'transparent' }))).toEqual(
      [...subject].map((inside) => 1 - inside),
    );
  });

  it('none, the default: colours all patches', async () => {
    const features = featuresOf(patches, { rows, cols, embedDim: dim });
    const pca = await PCA.fit(features);
    expect(opaque(await pca.rgb(features, { background: 'transparent' }))).toEqual([...subject].map(() => 1));
  });

  it('auto: colours all patches if too few differ', async () => {
    const few = new Float32Array(rows * cols * dim).map(
      (_, i) => Math.sin(i) * 1e-3 + (Math.floor(i / dim) === 170 ? 5 : 0),
    );
    const pca = await PCA.fit(featuresOf(few, { rows, cols, embedDim: dim }), { foreground: 'auto' });
    expect(pca.foreground).toBeUndefined();
  });
});

describe('the same picture', () => {
  const [rows, cols, dim] = [18, 20, 96];
  const { patches } = scene(rows, cols, dim, 22);

  it('in every run, bit for bit, and with the foreground that the recipe implies', async () => {
    const features = featuresOf(patches, { rows, cols, embedDim: dim });
    const [a, b] = [
      await PCA.fit(features, { recipe: 'paper' }),
      await PCA.fit(features, { foreground: 'auto' }),
    ];
    expect(JSON.stringify(a)).toBe(JSON.stringify(b));
    expect(await a.rgb(features)).toEqual(await b.rgb(features));
  });

  it('in many short submits and in one, bit for bit', async () => {
    const features = featuresOf(patches, { rows, cols, embedDim: dim });
    const together = JSON.stringify(await PCA.fit(features, { recipe: 'paper' }));
    Object.defineProperty(gpu, 'flopsPerSecond', { value: 1, configurable: true }); // simulates an extremely slow adapter
    try {
      expect(JSON.stringify(await PCA.fit(features, { recipe: 'paper' }))).toBe(together);
    } finally {
      delete (gpu as { flopsPerSecond?: number }).flopsPerSecond;
    }
  });

  it('after conversion to JSON and back, bit for bit', async () => {
    const features = featuresOf(patches, { rows, cols, embedDim: dim });
    for (const recipe of ['paper', 'plain', 'notebook', 'whitened'] as const) {
      const pca = await PCA.fit(features, { recipe });
      const again = PCA.fromJSON(JSON.parse(JSON.stringify(pca)) as PcaJSON);
      expect(again).toEqual(pca);
      expect(await again.rgb(features)).toEqual(await pca.rgb(features));
    }
  });

  it('for features with the rounding of another adapter: bytes differ by at most 1', async () => {
    const random = new Random(23);
    const features = featuresOf(patches, { rows, cols, embedDim: dim });
    // Five times the allowed difference from Python, which is 2e-5 absolute for features of size 1.
    const other = featuresOf(
      patches.map((value) => value + 1e-4 * (2 * random.next() - 1)),
      { rows, cols, embedDim: dim },
    );
    const a = await (await PCA.fit(features, { recipe: 'paper' })).rgb(features);
    const b = await (await PCA.fit(other, { recipe: 'paper' })).rgb(other);
    a.forEach((value, i) => expect(Math.abs(value - b[i]!)).toBeLessThanOrEqual(1));
  });
});

describe('images without variation', () => {
  const gray = [128, 128, 128, 255];

  it.each(['auto', 'none'] as const)('a constant image is flat: %s', async (foreground) => {
    const [rows, cols, dim] = [7, 9, 384];
    const one = new Random(31).uniform(dim, 3);
    const features = featuresOf(
      Float32Array.from({ length: rows * cols * dim }, (_, i) => one[i % dim]!),
      { rows, cols, embedDim: dim },
    );
    const pca = await PCA.fit(features, { foreground });
    expect(pca.components.every((value) => value === 0)).toBe(true);
    expect([...(await pca.rgb(features))]).toEqual(Array.from({ length: rows * cols }, () => gray).flat());
    expect([...pca.explainedVariance, ...pca.explainedVarianceRatio]).toEqual([0, 0, 0, 0, 0, 0]);
  });

  it('features of zeros are flat', async () => {
    const features = featuresOf(new Float32Array(4 * 8), { rows: 2, cols: 2, embedDim: 8 });
    const pca = await PCA.fit(features, { recipe: 'paper' });
    expect([...(await pca.rgb(features))]).toEqual([...gray, ...gray, ...gray, ...gray]);
  });

  it('a single patch is gray', async () => {
    const features = featuresOf(new Random(32).uniform(384), { rows: 1, cols: 1, embedDim: 384 });
    expect([...(await (await PCA.fit(features, { recipe: 'paper' })).rgb(features))]).toEqual(gray);
  });

  it('two patches have one component, three have two', async () => {
    for (const count of [2, 3]) {
      const features = featuresOf(new Random(33).uniform(count * 128), {
        rows: 1,
        cols: count,
        embedDim: 128,
      });
      const pca = await PCA.fit(features);
      const lengths = [0, 1, 2].map((k) => Math.hypot(...rowOf(pca.components, k, 128)));
      expect(lengths).toEqual([0, 1, 2].map((k) => expect.closeTo(k < count - 1 ? 1 : 0, 5)));
      expect([...(await pca.rgb(features))].filter((_, i) => i % 4 === 2)).toEqual(Array(count).fill(128));
    }
  });
});

describe('errors', () => {
  const small = (): PatchFeatures => featuresOf(powerLaw(12, 32, 1, 41), { rows: 3, cols: 4, embedDim: 32 });
  const wider = (): PatchFeatures => featuresOf(powerLaw(12, 64, 1, 42), { rows: 3, cols: 4, embedDim: 64 });

  it('name the mismatch', async () => {
    await expect(PCA.fit([])).rejects.toMatchObject({ code: 'OPTION_VALUE' });
    await expect(PCA.fit([small(), wider()])).rejects.toMatchObject({ code: 'OPTION_VALUE' });
    const elsewhere = await acquireGpu(await requestDevice());
    await expect(PCA.fit([small(), { ...small(), gpu: elsewhere }])).rejects.toMatchObject({
      code: 'OPTION_VALUE',
    });
    elsewhere.device.destroy();
    await expect(PCA.fit({ ...small(), rows: 10_000, cols: 10_000 })).rejects.toMatchObject({
      code: 'DEVICE_LIMIT',
    });
    const pca = await PCA.fit(small());
    await expect(pca.rgb(wider())).rejects.toMatchObject({ code: 'OPTION_VALUE' });
    for (const batchIndex of [1, -1, 0.5])
      await expect(pca.rgb(small(), { batchIndex })).rejects.toMatchObject({ code: 'OPTION_VALUE' });
    for (const wrong of [{ recipe: 'umap' }, { foreground: 'left' }])
      await expect(PCA.fit(small(), wrong as object)).rejects.toMatchObject({ code: 'OPTION_VALUE' });
    for (const wrong of [
      { background: 'red' },
      { smooth: 'no' },
      { scale: 0 },
      { scale: 2, width: 9 },
      { width: 1e9 },
    ])
      await expect(pca.rgb(small(), wrong as object)).rejects.toMatchObject({ code: 'OPTION_VALUE' });
  });

  it('features that are not finite are rejected', async () => {
    const patches = powerLaw(12, 32, 1, 43);
    patches[50] = NaN;
    await expect(PCA.fit(featuresOf(patches, { rows: 3, cols: 4, embedDim: 32 }))).rejects.toMatchObject({
      code: 'INPUT_NOT_FINITE',
    });
  });

  it('an abort stops the fit and frees its buffers', async () => {
    const reason = new Error('enough');
    await expect(PCA.fit(small(), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const fitting = PCA.fit(small(), { signal: controller.signal });
    controller.abort(reason);
    await expect(fitting).rejects.toBe(reason);
    const pca = await PCA.fit(small());
    await expect(pca.rgb(small(), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  it('invalid JSON is rejected', async () => {
    const json = (await PCA.fit(small())).toJSON();
    for (const damage of [
      { format: 'other' },
      { version: 3 },
      { version: 2, colorRule: 'cubic' },
      { embedDim: 31 },
      { mean: json.mean.slice(1) },
      { components: json.components.map(() => null) },
      { foreground: { direction: json.mean, threshold: 'high' } },
    ]) {
      expect(() => PCA.fromJSON({ ...json, ...damage } as unknown as PcaJSON)).toThrow(
        expect.objectContaining({ code: 'OPTION_VALUE' }),
      );
    }
  });
});
