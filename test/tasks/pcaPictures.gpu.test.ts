// Recipes of PCA pictures, and pictures on textures and in files. pca.gpu.test.ts tests the components.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PNG } from 'pngjs';
import { DINOv2 } from '../../src/dinov2.ts';
import type { Gpu } from '../../src/gpu/device.ts';
import { PCA, type PatchFeatures, type PcaRecipe } from '../../src/tasks/pca.ts';
import { Random } from '../random.ts';
import { drawPatches } from '../reference/draw_patches.ts';
import { covariance, jacobi } from '../reference/pca.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { tiny } from '../gpu/tiny.ts';

let gpu: Gpu;
const made: GPUBuffer[] = [];
beforeAll(async () => {
  gpu = await sharedGpu();
});
afterEach(() => {
  for (const buffer of made.splice(0)) gpu.memory.destroy(buffer);
  expect(gpu.uncaptured).toBeUndefined();
  expect(gpu.memory.bytes).toBe(0);
});

const [rows, cols, embedDim] = [9, 12, 32];

/** Patches of a disc (1 in `subject`) and of its surroundings, each with a gradient. */
function scene(seed: number): { readonly patches: Float32Array; readonly subject: Uint32Array } {
  const random = new Random(seed);
  const directions = Array.from({ length: 6 }, () => random.uniform(embedDim));
  const subject = Uint32Array.from({ length: rows * cols }, (_, i) =>
    Math.hypot(Math.floor(i / cols) / rows - 0.45, (i % cols) / cols - 0.5) < 0.3 ? 1 : 0,
  );
  const patches = Float32Array.from({ length: rows * cols * embedDim }, (_, at) => {
    const [patch, i] = [Math.floor(at / embedDim), at % embedDim];
    const [y, x] = [Math.floor(patch / cols) / rows, (patch % cols) / cols];
    const scores = subject[patch] ? [3, 4 * y, 3 * x, 2 * x * y, 0, 0] : [-3, 0, 0, 0, 2 * x, 2 * y];
    return scores.reduce((sum, score, k) => sum + score * directions[k]![i]!, 2) + 0.1 * random.next();
  });
  return { patches, subject };
}

function featuresOf(patches: Float32Array): PatchFeatures {
  const all = new Float32Array(embedDim + patches.length).fill(1e6, 0, embedDim);
  all.set(patches, embedDim);
  const buffer = gpu.memory.storageOf('features', all);
  made.push(buffer);
  const numTokens = 1 + rows * cols;
  return { gpu, buffer, batch: 1, numTokens, numRegisterTokens: 0, rows, cols, embedDim };
}

/** numpy's default quantile. */
function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const low = sorted[Math.floor(at)]!;
  return low + (sorted[Math.min(Math.floor(at) + 1, sorted.length - 1)]! - low) * (at % 1);
}

/**
 * Colours of a recipe in float64: (patches, 3), from 0 to 255. `subject`: the patches that the PCA is fitted to.
 * Directions are solved independently of the library, and have the library's signs.
 */
function expectedColors(
  recipe: PcaRecipe,
  patches: Float32Array,
  subject: Uint32Array,
  pca: PCA,
): number[][] {
  const { vectors } = jacobi(covariance(patches, subject, embedDim), embedDim);
  const chosen = [...subject.keys()].filter((patch) => subject[patch] === 1);
  const channels = [0, 1, 2].map((k) => {
    const along = (patch: number, minus: number): number => {
      let sum = 0;
      for (let i = 0; i < embedDim; i++) sum += patches[patch * embedDim + i]! * vectors[k]![i]!;
      return sum - minus;
    };
    const mean = chosen.reduce((sum, patch) => sum + along(patch, 0), 0) / chosen.length;
    const component = pca.components.subarray(k * embedDim, (k + 1) * embedDim);
    const sign = Math.sign(component.reduce((sum, value, i) => sum + value * vectors[k]![i]!, 0));
    const scores = Array.from(subject, (_, patch) => sign * along(patch, mean));
    const inside = chosen.map((patch) => scores[patch]!);
    if (recipe === 'whitened') {
      const variance = inside.reduce((sum, score) => sum + score ** 2, 0) / (inside.length - 1);
      return scores.map((score) => 255 / (1 + Math.exp((-2 * score) / Math.sqrt(variance))));
    }
    const [low, high] =
      recipe === 'notebook'
        ? [Math.min(...scores), Math.max(...scores)]
        : [quantile(inside, 0.01), quantile(inside, 0.99)];
    return scores.map((score) => 255 * Math.min(1, Math.max(0, (score - low) / (high - low))));
  });
  return Array.from(subject, (_, patch) => channels.map((channel) => channel[patch]!));
}

describe.each(['plain', 'paper', 'notebook', 'whitened'] as const)('recipe %s', (recipe) => {
  it.each([undefined, 'none', 'auto'] as const)(
    'colours as its source computes them, with foreground %s',
    async (foreground) => {
      const { patches, subject } = scene(51);
      const features = featuresOf(patches);
      const pca = await PCA.fit(features, { recipe, ...(foreground && { foreground }) });
      const split = (foreground ?? (recipe === 'paper' ? 'auto' : 'none')) === 'auto';
      expect(pca.foreground !== undefined).toBe(split);
      const fitted = split ? subject : subject.map(() => 1);
      const expected = expectedColors(recipe, patches, fitted, pca);
      const pixels = await pca.rgb(features, { background: 'colored' });
      // Rounding to a byte, and the allowed angle of a component of 2e-4 on scores of a few times the range.
      expected.forEach((color, patch) =>
        color.forEach((value, k) => expect(Math.abs(pixels[4 * patch + k]! - value)).toBeLessThan(0.8)),
      );
      const masked = await pca.rgb(features);
      fitted.forEach((inside, patch) =>
        expect([...masked.subarray(4 * patch, 4 * patch + 4)]).toEqual(
          inside ? [...pixels.subarray(4 * patch, 4 * patch + 4)] : [0, 0, 0, 255],
        ),
      );
    },
  );
});

describe('the picture at another size', () => {
  it('equals the reference, and the picture on a texture', async () => {
    const features = featuresOf(scene(52).patches);
    const pca = await PCA.fit(features, { recipe: 'paper' });
    const small = await pca.rgb(features, { background: 'transparent' });
    const [width, height] = [50, 31];
    for (const smooth of [true, false]) {
      const large = await pca.rgb(features, { background: 'transparent', width, height, smooth });
      const expected = drawPatches(small, [rows, cols], [height, width], { bilinear: smooth });
      const texture = gpu.device.createTexture({
        format: 'rgba8unorm',
        size: [width, height],
        usage: 16 | 1,
      });
      await pca.drawTo(features, texture, { background: 'transparent', smooth });
      const drawn = await bytesOf(texture);
      texture.destroy();
      large.forEach((value, i) => {
        const alpha = large[i - (i % 4) + 3]! / 255;
        const multiplied = i % 4 === 3 ? value : value * alpha;
        // `large` has two roundings: of the colour and of alpha. WebGPU may be off by 0.6 of a byte.
        expect(Math.abs(multiplied - 255 * expected[i]!)).toBeLessThan(1.01);
        expect(Math.abs(drawn[i]! - 255 * expected[i]!)).toBeLessThan(0.61);
      });
    }
  });

  it('keeps the proportions if one side is given', async () => {
    const features = featuresOf(scene(53).patches);
    const pca = await PCA.fit(features);
    const pixelsAt = async (options: object): Promise<number> =>
      (await pca.rgb(features, options)).length / 4;
    expect(await pixelsAt({ width: 24 })).toBe(24 * 18);
    expect(await pixelsAt({ height: 18 })).toBe(24 * 18);
    expect(await pixelsAt({ scale: 3 })).toBe(9 * rows * cols);
    expect(await pixelsAt({ width: 5, height: 7 })).toBe(35);
  });
});

describe('png', () => {
  it.each(['black', 'transparent'] as const)(
    'decodes to the pixels of rgb: background %s',
    async (background) => {
      const features = featuresOf(scene(54).patches);
      const pca = await PCA.fit(features, { recipe: 'paper' });
      for (const options of [
        { background },
        { background, scale: 5 },
        { background, scale: 5, smooth: false },
      ]) {
        const file = await pca.png(features, options);
        expect(file.type).toBe('image/png');
        const { width, height, data } = PNG.sync.read(Buffer.from(await file.arrayBuffer()));
        const scale = options.scale ?? 1;
        expect([width, height]).toEqual([cols * scale, rows * scale]);
        expect([...data]).toEqual([...(await pca.rgb(features, options))]);
      }
    },
  );
});

it('a picture of two textures: the colours separate the textures', async () => {
  using model = await DINOv2.synthetic(tiny, { device: gpu.device, selfTest: false });
  const [height, width] = [14 * 8, 14 * 10];
  const random = new Random(55);
  // Vertical stripes on the left, horizontal stripes on the right, and noise over both.
  const pixels = Float32Array.from({ length: 3 * height * width }, (_, at) => {
    const [x, y] = [at % width, Math.floor(at / width) % height];
    const across = x < width / 2 ? x : y;
    return (across % 7 < 4 ? 1 : -1) + 0.5 * (2 * random.next() - 1);
  });
  using features = await model.forward(pixels, { height, width });
  for (const recipe of ['plain', 'notebook', 'whitened'] as const) {
    const pca = await PCA.fit(features, { recipe });
    const colors = await pca.rgb(features);
    const red = (left: boolean): number[] =>
      Array.from({ length: 80 }, (_, patch) => patch)
        .filter((patch) => patch % 10 < 5 === left)
        .map((patch) => colors[4 * patch]!);
    const [left, right] = [red(true), red(false)].toSorted((a, b) => a[0]! - b[0]!) as [number[], number[]];
    expect(Math.min(...right) - Math.max(...left)).toBeGreaterThan(128);
  }
});

/** Bytes of an rgba8unorm texture: (height, width, 4). */
async function bytesOf(texture: GPUTexture): Promise<Uint8Array> {
  const { width, height } = texture;
  const bytesPerRow = Math.ceil((4 * width) / 256) * 256;
  const buffer = gpu.device.createBuffer({ size: bytesPerRow * height, usage: 8 | 1 });
  const encoder = gpu.device.createCommandEncoder();
  encoder.copyTextureToBuffer({ texture }, { buffer, bytesPerRow }, [width, height]);
  gpu.device.queue.submit([encoder.finish()]);
  await buffer.mapAsync(1);
  const bytes = new Uint8Array(buffer.getMappedRange().slice(0));
  buffer.destroy();
  return Uint8Array.from({ length: 4 * width * height }, (_, i) => {
    const row = Math.floor(i / (4 * width));
    return bytes[row * bytesPerRow + (i % (4 * width))]!;
  });
}
