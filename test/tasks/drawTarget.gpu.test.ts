// Pictures drawn on textures. drawTarget.browser.test.ts draws on canvases.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { acquireGpu, type Gpu } from '../../src/gpu/device.ts';
import { f16ToF32 } from '../../src/numerics/toFloat32.ts';
import { DRAW_FORMATS, prepareDraw, type DrawTarget } from '../../src/tasks/drawTarget.ts';
import { Random } from '../random.ts';
import { drawPatches } from '../reference/draw_patches.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { requestDevice } from '../gpu/tiny.ts';

const RENDER_ATTACHMENT = 16;
const COPY_SRC = 1;

let gpu: Gpu;
const textures: GPUTexture[] = [];
beforeAll(async () => {
  gpu = await sharedGpu();
});
afterEach(() => {
  for (const texture of textures.splice(0)) texture.destroy();
  expect(gpu.uncaptured).toBeUndefined();
  expect(gpu.memory.bytes).toBe(0);
});

function textureOf(
  format: GPUTextureFormat,
  size: readonly number[],
  more: Partial<GPUTextureDescriptor> = {},
): GPUTexture {
  const usage = RENDER_ATTACHMENT | COPY_SRC;
  const texture = gpu.device.createTexture({ format, size: [...size], usage, ...more });
  textures.push(texture);
  return texture;
}

function randomColors(seed: number, count: number): Uint8Array<ArrayBuffer> {
  const random = new Random(seed);
  return Uint8Array.from({ length: 4 * count }, () => random.integer(0, 255));
}

/** Draws colours (rows, cols, 4) on a target. */
async function draw(
  target: DrawTarget,
  colors: Uint8Array<ArrayBuffer>,
  [rows, cols]: readonly [number, number],
  smooth: boolean,
): Promise<void> {
  const picture = await prepareDraw('test', gpu, target, smooth);
  await gpu.task('test', undefined, (task) => {
    task.burst((burst) => {
      const buffer = burst.storageOf('colors', new Uint32Array(colors.buffer));
      picture(burst, buffer, rows, cols);
    });
  });
}

/** Reads level 0 of layer 0 of a texture: r, g, b, a, as bytes or (rgba16float) as numbers. */
async function read(texture: GPUTexture): Promise<Float64Array> {
  const { width, height, format } = texture;
  const half = format === 'rgba16float';
  const bytesPerRow = Math.ceil((width * (half ? 8 : 4)) / 256) * 256;
  const buffer = gpu.device.createBuffer({ size: bytesPerRow * height, usage: 8 | 1 });
  const encoder = gpu.device.createCommandEncoder();
  encoder.copyTextureToBuffer({ texture }, { buffer, bytesPerRow }, [width, height]);
  gpu.device.queue.submit([encoder.finish()]);
  await buffer.mapAsync(1);
  const bytes = new Uint8Array(buffer.getMappedRange().slice(0));
  buffer.destroy();
  const numbers = half ? new Float32Array(bytes.length / 2) : bytes;
  if (half) f16ToF32(bytes, numbers as Float32Array);
  const perRow = numbers.length / height;
  const order = format.startsWith('bgra') ? [2, 1, 0, 3] : [0, 1, 2, 3];
  return Float64Array.from({ length: width * height * 4 }, (_, i) => {
    const [pixel, channel] = [Math.floor(i / 4), order[i % 4]!];
    return numbers[Math.floor(pixel / width) * perRow + 4 * (pixel % width) + channel]!;
  });
}

const encoded = (light: number): number =>
  light <= 0.0031308 ? light * 12.92 : 1.055 * light ** (1 / 2.4) - 0.055;

/** Rows, columns, height, width: enlarged, reduced, equal, one patch, one pixel. */
const sizes = [
  [5, 7, 61, 70],
  [16, 16, 9, 13],
  [6, 4, 6, 4],
  [1, 1, 3, 2],
  [3, 1, 8, 5],
  [9, 8, 1, 1],
] as const;

describe.each([false, true])('smooth: %s', (bilinear) => {
  it.each(sizes)(
    '%i × %i patches on %i × %i pixels equal the reference',
    async (rows, cols, height, width) => {
      const colors = randomColors(rows * width, rows * cols);
      const texture = textureOf('rgba8unorm', [width, height]);
      await draw(texture, colors, [rows, cols], bilinear);
      const expected = drawPatches(colors, [rows, cols], [height, width], { bilinear });
      (await read(texture)).forEach((value, i) => {
        // WebGPU allows a conversion to bytes to be off by 0.6 of a byte.
        expect(Math.abs(value - 255 * expected[i]!)).toBeLessThan(0.61);
      });
    },
  );

  it.each(DRAW_FORMATS)('format %s has the same colours', async (format) => {
    const size = [9, 11] as const;
    const colors = randomColors(3, 5 * 6).map((value, i) => (i % 8 === 3 ? 255 : value));
    const texture = textureOf(format, [size[1], size[0]]);
    await draw(texture, colors, [5, 6], bilinear);
    const linear = format.endsWith('-srgb');
    const expected = drawPatches(colors, [5, 6], size, { bilinear, linear });
    (await read(texture)).forEach((value, i) => {
      if (format === 'rgba16float') expect(Math.abs(value - expected[i]!)).toBeLessThan(2 ** -11);
      else if (!linear || i % 4 === 3) expect(Math.abs(value - 255 * expected[i]!)).toBeLessThan(0.61);
      // The conversion from linear light may be off by 0.6 of a byte, and `pow` has an error of its own.
      else expect(Math.abs(value - 255 * encoded(expected[i]!))).toBeLessThan(0.75);
    });
  });
});

it('an opaque picture has the same bytes in an sRGB format', async () => {
  const colors = Uint8Array.from({ length: 256 * 4 }, (_, i) => (i % 4 === 3 ? 255 : (i >> 2) ^ (i & 3)));
  const [plain, srgb] = [textureOf('rgba8unorm', [16, 16]), textureOf('rgba8unorm-srgb', [16, 16])];
  for (const texture of [plain, srgb]) await draw(texture, colors, [16, 16], false);
  expect([...(await read(plain))]).toEqual([...colors]);
  expect([...(await read(srgb))]).toEqual([...colors]);
});

it('draws on level 0 of layer 0 of an array with levels', async () => {
  const texture = textureOf('rgba8unorm', [8, 8, 2], { mipLevelCount: 3 });
  const colors = new Uint8Array(4).fill(255);
  await draw(texture, colors, [1, 1], false);
  expect([...(await read(texture))]).toEqual(Array.from({ length: 8 * 8 * 4 }, () => 255));
});

describe('a target that cannot be drawn on', () => {
  const error = async (target: unknown): Promise<unknown> =>
    prepareDraw('PCA.drawTo', gpu, target as DrawTarget, true).catch((cause: unknown) => cause);

  it('a texture without the usage', async () => {
    expect(await error(textureOf('rgba8unorm', [4, 4], { usage: COPY_SRC }))).toMatchObject({
      code: 'OPTION_VALUE',
      message:
        'PCA.drawTo: expected a texture with the usage RENDER_ATTACHMENT (16), found usage 1. Add GPUTextureUsage.RENDER_ATTACHMENT where the texture is created.',
    });
  });

  it('a texture in another format', async () => {
    expect(await error(textureOf('r8unorm', [4, 4]))).toMatchObject({
      code: 'OPTION_VALUE',
      message: expect.stringContaining('rgba16float, found r8unorm') as string,
    });
  });

  it('a multisampled texture', async () => {
    const texture = textureOf('rgba8unorm', [4, 4], { sampleCount: 4, usage: RENDER_ATTACHMENT });
    expect(await error(texture)).toMatchObject({
      code: 'OPTION_VALUE',
      message: expect.stringContaining('4 samples') as string,
    });
  });

  it.each([[undefined], [null], ['canvas'], [{}], [new Uint8Array(4)]])('%s', async (target) => {
    expect(await error(target)).toMatchObject({
      code: 'OPTION_VALUE',
      message: expect.stringContaining('expected a GPUTexture, a GPUCanvasContext') as string,
    });
  });

  it('a texture of another device: the task that draws throws', async () => {
    const device = await requestDevice();
    const other = await acquireGpu(device);
    const texture = device.createTexture({ format: 'rgba8unorm', size: [4, 4], usage: RENDER_ATTACHMENT });
    await expect(draw(texture, new Uint8Array(4), [1, 1], false)).rejects.toMatchObject({
      code: 'DEVICE_FAILED',
      message: expect.stringMatching(/^test: the GPU rejected an operation: .*device/is) as string,
    });
    other.release();
    device.destroy();
  });

  it('a destroyed texture: the task that draws throws', async () => {
    const texture = textureOf('rgba8unorm', [4, 4]);
    texture.destroy();
    await expect(draw(texture, new Uint8Array(4), [1, 1], false)).rejects.toMatchObject({
      code: 'DEVICE_FAILED',
    });
  });
});
