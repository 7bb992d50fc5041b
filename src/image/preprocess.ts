/**
 * An image → what the model sees: resized, cropped and normalised on the GPU with the same bits as the
 * checkpoint's image processor has on Pillow. In two steps, so that the caller knows sizes before it makes a
 * buffer for a batch: `prepare` decodes and uploads, `write` computes.
 */
import { DeviceError, ImageError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { RESIZE_WORKGROUP, resizeFirst, resizeSecond } from '../gpu/imageKernels.js';
import type { Kernel } from '../gpu/kernel.js';
import type { CompiledKernel } from '../gpu/pipelines.js';
import { resizeTaps, type Resample } from './coefficients.js';
import {
  planResize,
  resolvePreprocessing,
  wholePatches,
  type Geometry,
  type ResolvedPreprocessing,
} from './geometry.js';
import { levelsOf, type Normalization } from './normalization.js';
import { TURNS } from './orientation.js';
import { DEFAULT_PREPROCESSING, type Preprocessing, type PreprocessingOptions } from './preprocessing.js';
import {
  decodeSource,
  type DecodedImage,
  type ImageSource,
  type ImageTexture,
  type SourceOptions,
} from './source.js';

/** How an image becomes pixels. */
export interface PixelOptions extends PreprocessingOptions, SourceOptions {}

export interface PreprocessorOptions {
  /** Side of a patch in pixels. Default 14. */
  readonly patchSize?: number | undefined;
  /** The checkpoint's. Default: that of facebook/dinov2. */
  readonly preprocessing?: Preprocessing | undefined;
}

/** What the model sees, in numbers. */
export interface Pixels {
  /** (batch, 3, height, width), normalised. */
  readonly data: Float32Array<ArrayBuffer>;
  readonly batch: number;
  readonly height: number;
  readonly width: number;
}

/** An image on the GPU, waiting to be written. `Preprocessor.write` uses it up; else call `dispose`. */
export class PreparedImage {
  readonly geometry: Geometry;
  readonly resample: Resample;
  readonly normalization: Normalization;
  /** 1 to 8: how it lies in its texture. */
  readonly orientation: number;
  readonly #texture: GPUTexture;
  #used = false;

  constructor(
    geometry: Geometry,
    { resample, normalization }: Pick<ResolvedPreprocessing, 'resample' | 'normalization'>,
    { texture, orientation }: ImageTexture,
  ) {
    this.geometry = geometry;
    this.resample = resample;
    this.normalization = normalization;
    this.orientation = orientation;
    this.#texture = texture;
  }

  /** Of the output, in pixels. */
  get width(): number {
    return this.geometry.width;
  }

  get height(): number {
    return this.geometry.height;
  }

  /** Bytes of its pixels, (3, height, width) in float32. */
  get bytes(): number {
    return 3 * this.height * this.width * Float32Array.BYTES_PER_ELEMENT;
  }

  /** @throws DeviceError DISPOSED, if it was written or disposed before. */
  get texture(): GPUTexture {
    if (this.#used)
      throw new DeviceError(
        'DISPOSED',
        'PreparedImage: expected one that still has its texture, found one that was written or disposed. Prepare the image again.',
      );
    return this.#texture;
  }

  dispose(): void {
    this.#used = true;
    this.#texture.destroy();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The taps of one direction on the GPU. */
interface TapsOnGpu {
  readonly buffer: GPUBuffer;
  /** Pixels that are made. */
  readonly length: number;
  readonly count: number;
  readonly begin: number;
  readonly end: number;
}

/** Tables of taps that are kept: two for a video, a few for photographs of some cameras. */
const KEPT_TAPS = 16;
/** Tables of levels that are kept: the checkpoint's, and a few of calls with their own normalization. */
const KEPT_LEVELS = 4;

export class Preprocessor {
  readonly #gpu: Gpu;
  readonly #patchSize: number;
  readonly #preprocessing: Preprocessing;
  readonly #first: CompiledKernel;
  readonly #second: CompiledKernel;
  /** Tables on the GPU, in the order of their last use. */
  readonly #levels = new Map<string, { readonly buffer: GPUBuffer }>();
  readonly #taps = new Map<string, TapsOnGpu>();
  #disposed = false;

  private constructor(
    gpu: Gpu,
    patchSize: number,
    preprocessing: Preprocessing,
    first: CompiledKernel,
    second: CompiledKernel,
  ) {
    this.#gpu = gpu;
    this.#patchSize = patchSize;
    this.#preprocessing = preprocessing;
    this.#first = first;
    this.#second = second;
  }

  /** Compiles the two kernels. No image size is baked into them. */
  static async create(
    gpu: Gpu,
    { patchSize = 14, preprocessing = DEFAULT_PREPROCESSING }: PreprocessorOptions = {},
  ): Promise<Preprocessor> {
    const compile = (kernel: Kernel): Promise<CompiledKernel> =>
      gpu.pipelines.compile({ kernel, constants: {} });
    const [first, second] = await Promise.all([compile(resizeFirst), compile(resizeSecond)]);
    const preprocessor = new Preprocessor(gpu, patchSize, preprocessing, first, second);
    await gpu.allocating(() => preprocessor.#levelsFor(preprocessing.normalization));
    return preprocessor;
  }

  /**
   * Decodes an image and puts it on the GPU.
   *
   * @param remainder whether the output keeps the part of a patch at its right and at its bottom, as Python's
   *   pixels do; the model does not see it
   * @throws OptionError if the options do not fit together; ImageError what toTexture throws, and IMAGE_SIZE
   *   if the output is empty or too large
   * @throws `signal.reason` after an abort
   */
  async prepare(source: ImageSource, options: PixelOptions = {}, remainder = false): Promise<PreparedImage> {
    this.#alive();
    resolvePreprocessing(this.#preprocessing, options, this.#patchSize); // what is wrong with options is told ahead of decoding
    const decoded = await decodeSource(this.#gpu, source, options);
    try {
      return await this.prepareDecoded(decoded, options, remainder);
    } finally {
      decoded.close();
    }
  }

  /** Puts a decoded image on the GPU. The caller closes it afterwards. Throws as `prepare`. */
  async prepareDecoded(
    decoded: DecodedImage,
    options: PixelOptions = {},
    remainder = false,
  ): Promise<PreparedImage> {
    this.#alive();
    const resolved = resolvePreprocessing(this.#preprocessing, options, this.#patchSize);
    const image = await decoded.upload();
    try {
      options.signal?.throwIfAborted();
      this.#alive();
      const geometry = planResize(image.width, image.height, resolved, this.#patchSize);
      return new PreparedImage(
        remainder ? geometry : wholePatches(geometry, this.#patchSize),
        resolved,
        image,
      );
    } catch (error) {
      image.texture.destroy();
      throw error;
    }
  }

  /**
   * Writes an image's pixels, (3, height, width) in float32, into `pixels` from byte `offset` on, and frees
   * what belongs to the image. Only submits: what is submitted later on this device finds the pixels there.
   */
  write(image: PreparedImage, pixels: GPUBuffer, offset = 0): void {
    this.#alive();
    const { texture, geometry, resample, orientation, bytes } = image;
    if (offset % 4 !== 0 || offset < 0 || offset + bytes > pixels.size) {
      throw new ImageError(
        'INPUT_SHAPE',
        `Pixels: expected ${bytes} bytes from offset ${offset}, a multiple of 4, found a buffer of ${pixels.size}. Make it (batch, 3, height, width) floats.`,
      );
    }
    const { memory, device, pipelines } = this.#gpu;
    const temporary: GPUBuffer[] = [];
    try {
      const { verticalFirst } = geometry;
      const columns = this.#tapsFor(
        geometry.sourceWidth,
        geometry.resizedWidth,
        geometry.left,
        geometry.width,
        resample,
      );
      const lines = this.#tapsFor(
        geometry.sourceHeight,
        geometry.resizedHeight,
        geometry.top,
        geometry.height,
        resample,
      );
      const levels = this.#levelsFor(image.normalization);
      const [first, second] = verticalFirst ? [lines, columns] : [columns, lines];
      const rows = second.end - second.begin;
      const size = memory.uniformOf('resize size', [
        first.length,
        second.length,
        rows,
        second.begin,
        first.count,
        second.count,
        offset / 4,
        Number(verticalFirst),
        TURNS[orientation]!,
        geometry.fill[0] | (geometry.fill[1] << 8) | (geometry.fill[2] << 16),
      ]);
      temporary.push(size);
      const between = memory.storage('resize between', rows * first.length * 4);
      temporary.push(between);

      const encoder = device.createCommandEncoder({ label: 'pixels' });
      const pass = encoder.beginComputePass({ label: 'pixels' });
      const dispatch = (
        kernel: CompiledKernel,
        height: number,
        resources: readonly GPUBindingResource[],
      ): void => {
        pass.setPipeline(kernel.pipeline);
        pass.setBindGroup(0, pipelines.bind(kernel, resources));
        pass.dispatchWorkgroups(
          Math.ceil(first.length / RESIZE_WORKGROUP[0]),
          Math.ceil(height / RESIZE_WORKGROUP[1]),
        );
      };
      dispatch(this.#first, rows, [
        { buffer: size },
        texture.createView(),
        { buffer: first.buffer },
        { buffer: between },
      ]);
      dispatch(this.#second, second.length, [
        { buffer: size },
        { buffer: between },
        { buffer: second.buffer },
        { buffer: levels },
        { buffer: pixels },
      ]);
      pass.end();
      device.queue.submit([encoder.finish()]);
    } finally {
      // A buffer or texture that is destroyed after a submit lives until the GPU is done with it.
      for (const buffer of temporary) memory.destroy(buffer);
      image.dispose();
    }
  }

  /**
   * The pixels of several images in one buffer, (batch, 3, height, width), one image after the other: at most
   * one image's texture is on the GPU. The caller destroys the buffer (`gpu.memory.destroy`).
   *
   * @param remainder as for `prepare`
   * @throws ImageError INPUT_SHAPE if there is no image, or if their outputs differ in size; what `prepare`
   *   throws
   */
  async batch(
    sources: readonly ImageSource[],
    options: PixelOptions = {},
    remainder = false,
  ): Promise<{ buffer: GPUBuffer; batch: number; height: number; width: number }> {
    const { memory } = this.#gpu;
    let made: { buffer: GPUBuffer; batch: number; height: number; width: number } | undefined;
    try {
      for (const [index, source] of sources.entries()) {
        const image = await this.prepare(source, options, remainder);
        try {
          const { width, height, bytes } = image;
          made ??= await this.#gpu.allocating(() => ({
            buffer: memory.storage('pixels', sources.length * bytes),
            batch: sources.length,
            height,
            width,
          }));
          if (made.height !== height || made.width !== width) {
            const found = `image 0 with ${made.width} × ${made.height} and image ${index} with ${width} × ${height}`;
            throw new ImageError(
              'INPUT_SHAPE',
              `Batch: expected images of one size after resizing, found ${found}. Use resize: 'crop', or featuresBySize(), which makes a batch of each size.`,
            );
          }
          this.write(image, made.buffer, index * bytes);
        } finally {
          image.dispose();
        }
      }
      if (!made)
        throw new ImageError('INPUT_SHAPE', 'Batch: expected at least 1 image, found 0. Hand in an image.');
      return made;
    } catch (error) {
      if (made) memory.destroy(made.buffer);
      throw error;
    }
  }

  /**
   * What Python's image processor gives, in JavaScript's memory, with the remainder of a patch. Throws as
   * `batch` does.
   */
  async read(sources: readonly ImageSource[], options: PixelOptions = {}): Promise<Pixels> {
    const { memory } = this.#gpu;
    const { buffer, batch, height, width } = await this.batch(sources, options, true);
    try {
      const bytes = await memory.read(buffer, 0, batch * 3 * height * width * Float32Array.BYTES_PER_ELEMENT);
      this.#gpu.check();
      return { data: new Float32Array(bytes), batch, height, width };
    } catch (error) {
      this.#gpu.check();
      throw error;
    } finally {
      memory.destroy(buffer);
    }
  }

  dispose(): void {
    this.#disposed = true;
    for (const tables of [this.#taps, this.#levels]) {
      for (const { buffer } of tables.values()) this.#gpu.memory.destroy(buffer);
      tables.clear();
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #alive(): void {
    if (this.#disposed)
      throw new DeviceError(
        'DISPOSED',
        'Preprocessor: expected one in use, found one after dispose(). Load the model again.',
      );
  }

  #tapsFor(
    sourceSize: number,
    resizedSize: number,
    first: number,
    length: number,
    resample: Resample,
  ): TapsOnGpu {
    const key = [sourceSize, resizedSize, first, length, resample].join();
    return this.#kept(this.#taps, KEPT_TAPS, key, () => {
      const { count, table, begin, end } = resizeTaps(sourceSize, resizedSize, first, length, resample);
      const buffer = this.#gpu.memory.storageOf(`taps ${sourceSize} → ${resizedSize}`, table);
      return { buffer, length, count, begin, end };
    });
  }

  #levelsFor(normalization: Normalization): GPUBuffer {
    const { rescaleFactor, mean, std } = normalization;
    return this.#kept(this.#levels, KEPT_LEVELS, [rescaleFactor, ...mean, ...std].join(), () => ({
      buffer: this.#gpu.memory.storageOf('pixel levels', levelsOf(normalization)),
    })).buffer;
  }

  /** A table that was kept, or a new one; the one that was not used for longest goes. */
  #kept<T extends { readonly buffer: GPUBuffer }>(
    tables: Map<string, T>,
    most: number,
    key: string,
    make: () => T,
  ): T {
    const table = tables.get(key) ?? make();
    tables.delete(key);
    tables.set(key, table);
    if (tables.size > most) {
      const [oldest, { buffer }] = tables.entries().next().value!;
      tables.delete(oldest);
      this.#gpu.memory.destroy(buffer);
    }
    return table;
  }
}
