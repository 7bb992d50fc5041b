/**
 * An image → what the model sees: resized, cropped and normalised on the GPU with the same bits as the
 * checkpoint's image processor has on Pillow. In two steps, so that the caller knows sizes before it makes a
 * buffer for a batch: `prepare` decodes and uploads, `write` computes.
 */
import { DeviceError, ImageError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import {
  RESIZE_FIRST_ROWS,
  RESIZE_WORKGROUP,
  resizeFirst,
  resizeSecond,
} from '../gpu/kernels/imageKernels.js';
import type { Kernel } from '../gpu/kernels/kernel.js';
import { pause } from '../platform/pause.js';
import type { Burst, Task } from '../gpu/task.js';
import type { CompiledKernel } from '../gpu/pipelines.js';
import { resizeTaps, type Resample, type Taps } from './coefficients.js';
import { planResize, resolvePreprocessing, wholePatches, type Geometry } from './geometry.js';
import { levelsOf } from './normalization.js';
import { swapsSides, TURN_FLIP_Y, TURN_TRANSPOSE, TURNS } from './orientation.js';
import { PreparedImage } from './preparedImage.js';
import { DEFAULT_PREPROCESSING, type Preprocessing, type PreprocessingOptions } from './preprocessing.js';
import { decodeSource, type DecodedImage, type ImageSource, type SourceOptions } from './source.js';
import { planStrips } from './strips.js';
import { openUpload, type Upload } from './upload.js';

/** How an image becomes pixels. */
export interface PixelOptions extends PreprocessingOptions, SourceOptions {}

export interface PreprocessorOptions {
  /** Side of a patch in pixels. Default 14. */
  readonly patchSize?: number | undefined;
  /** The checkpoint's. Default: that of facebook/dinov2. */
  readonly preprocessing?: Preprocessing | undefined;
  /**
   * An image goes to the GPU in strips of so many bytes at most, or of a single row that is longer; four of
   * them may wait there. Default 16 MiB, which takes a page's thread about 20 ms.
   */
  readonly stripBytes?: number | undefined;
}

/** What the model sees, in numbers. */
export interface Pixels {
  /** (batch, 3, height, width), normalised. */
  readonly data: Float32Array<ArrayBuffer>;
  readonly batch: number;
  readonly height: number;
  readonly width: number;
}

const STRIP_BYTES = 2 ** 24;
/** Strips of a file that are on the GPU at once: it is not waited for after each. */
const STRIPS_AT_ONCE = 4;
/** Pictures up to this size may pile up on the GPU while it is busy. */
const SMALL_BYTES = 2 ** 22;
/** Tables of taps that are kept: two for a video, a few for photographs of some cameras. */
const KEPT_TAPS = 16;

export class Preprocessor {
  readonly #gpu: Gpu;
  readonly #patchSize: number;
  readonly #preprocessing: Preprocessing;
  readonly #stripBytes: number;
  readonly #first: CompiledKernel;
  readonly #second: CompiledKernel;
  /** In the order of their last use. */
  readonly #taps = new Map<string, Taps>();
  #disposed = false;

  private constructor(
    gpu: Gpu,
    patchSize: number,
    preprocessing: Preprocessing,
    stripBytes: number,
    first: CompiledKernel,
    second: CompiledKernel,
  ) {
    this.#gpu = gpu;
    this.#patchSize = patchSize;
    this.#preprocessing = preprocessing;
    this.#stripBytes = stripBytes;
    this.#first = first;
    this.#second = second;
  }

  /** Compiles the two kernels. No image size is baked into them. */
  static async create(
    gpu: Gpu,
    {
      patchSize = 14,
      preprocessing = DEFAULT_PREPROCESSING,
      stripBytes = STRIP_BYTES,
    }: PreprocessorOptions = {},
  ): Promise<Preprocessor> {
    const compile = (kernel: Kernel): Promise<CompiledKernel> =>
      gpu.pipelines.compile({ kernel, constants: {} });
    const [first, second] = await Promise.all([compile(resizeFirst), compile(resizeSecond)]);
    return new Preprocessor(gpu, patchSize, preprocessing, stripBytes, first, second);
  }

  /**
   * Decodes an image, brings it to the GPU and begins its resize there.
   *
   * @param remainder whether the output keeps the part of a patch at its right and at its bottom, as Python's
   *   pixels do; the model does not see it
   * @throws OptionError if the options do not fit together; ImageError what decodeSource throws, and IMAGE_SIZE
   *   if the image is empty, or the output empty or too large; DeviceError
   * @throws `signal.reason` after an abort
   */
  async prepare(source: ImageSource, options: PixelOptions = {}, remainder = false): Promise<PreparedImage> {
    this.#alive();
    resolvePreprocessing(this.#preprocessing, options, this.#patchSize); // refuses options ahead of decoding
    const decoding = decodeSource(this.#gpu, source, options);
    const image = 'then' in decoding ? await decoding : decoding; // what is at hand goes to the GPU at once
    try {
      return await this.prepareDecoded(image, options, remainder);
    } finally {
      image.close();
    }
  }

  /**
   * As `prepare`, of a picture that is decoded. Once it resolves the picture is not needed any more. Memory on
   * the GPU meanwhile: of a file four strips, of what the page draws and of pixels in memory the whole picture (twice where
   * a texture is on the way), and what PreparedImage says.
   */
  async prepareDecoded(
    image: DecodedImage,
    options: PixelOptions = {},
    remainder = false,
  ): Promise<PreparedImage> {
    this.#alive();
    options.signal?.throwIfAborted();
    const resolved = resolvePreprocessing(this.#preprocessing, options, this.#patchSize);
    const upload = openUpload(this.#gpu.device, image);
    try {
      const [width, height] = swapsSides(image.orientation)
        ? [image.height, image.width]
        : [image.width, image.height];
      const whole = planResize(width, height, resolved, this.#patchSize);
      const geometry = remainder ? whole : wholePatches(whole, this.#patchSize);
      const between = await this.#firstPass(image, upload, geometry, resolved.resample, options.signal);
      return new PreparedImage(geometry, resolved, this.#gpu.memory, between);
    } finally {
      upload.close();
    }
  }

  async #firstPass(
    { width: storedColumns, height: storedRows, orientation }: DecodedImage,
    { stride, swap, load, fill }: Upload,
    geometry: Geometry,
    resample: Resample,
    signal: AbortSignal | undefined,
  ): Promise<GPUBuffer> {
    const { verticalFirst } = geometry;
    const [along, across] = this.#lines(geometry, resample);
    const turn = TURNS[orientation]!;
    const rows = across.end - across.begin;
    const isLarge = storedRows * stride * 4 > SMALL_BYTES;
    const strips = planStrips({
      storedRows,
      down: verticalFirst !== ((turn & TURN_TRANSPOSE) !== 0),
      flipped: (turn & TURN_FLIP_Y) !== 0,
      taps: along,
      width: along.length,
      firstRow: across.begin,
      rows,
      mostRows: Math.max(1, Math.floor(this.#stripBytes / (stride * 4))),
    });
    const kept = await this.#gpu.task('image', signal, async (task) => {
      const { taps, between } = task.burst((burst) => ({
        taps: burst.storageOf('taps', along.table),
        between: burst.storage('resize between', rows * along.length * 4),
      }));
      for (const [index, strip] of strips.entries()) {
        // Only what has to be waited for is: a video goes on.
        if (load) {
          if (index > 0 && index % STRIPS_AT_ONCE === 0) await task.computed(true);
          // Copying takes the thread as long as uploading: other tasks may come between.
          if (isLarge) await pause();
          await load(strip.begin, strip.end);
          if (isLarge) await pause();
          signal?.throwIfAborted();
          this.#alive();
        }
        task.burst((burst) => {
          const source = burst.storage('picture', (strip.end - strip.begin) * stride * 4);
          const size = burst.uniformOf('resize first', [
            strip.x0,
            strip.y0,
            strip.x1,
            strip.y1,
            storedColumns - 1,
            storedRows - 1,
            along.length,
            across.begin,
            along.count,
            Number(verticalFirst),
            turn,
            stride,
            strip.begin,
            Number(swap),
          ]);
          fill(burst, source, strip.begin, strip.end);
          burst.dispatch(
            this.#first,
            [size, source, taps, between],
            [
              Math.ceil((strip.x1 - strip.x0) / RESIZE_WORKGROUP[0]),
              Math.ceil((strip.y1 - strip.y0) / (RESIZE_WORKGROUP[1] * RESIZE_FIRST_ROWS)),
            ],
          );
          burst.free(source);
        });
      }
      // A photograph is on the GPU until it is resized: only then may the next one be decoded.
      if (isLarge) await task.computed(true);
      else if (load) await task.settled(); // a live frame goes on: what is kept carries the verdict
      return task.keep(between);
    });
    if (this.#disposed) this.#gpu.memory.destroy(kept);
    this.#alive();
    return kept;
  }

  /**
   * Writes an image's pixels, (3, height, width) in float32, into `pixels` from byte `offset` on, and frees
   * what belongs to the image.
   */
  write(burst: Burst, image: PreparedImage, pixels: GPUBuffer, offset = 0): void {
    this.#alive();
    const { between, geometry, resample, bytes, normalization } = image;
    if (offset % 4 !== 0 || offset < 0 || offset + bytes > pixels.size) {
      throw new ImageError(
        'INPUT_SHAPE',
        `Pixels: expected ${bytes} bytes from offset ${offset}, a multiple of 4, found a buffer of ${pixels.size}. Make it (batch, 3, height, width) floats.`,
      );
    }
    const { verticalFirst, fill } = geometry;
    const [first, second] = this.#lines(geometry, resample);
    const size = burst.uniformOf('resize second', [
      first.length,
      second.length,
      second.end - second.begin,
      second.begin,
      second.count,
      offset / 4,
      Number(verticalFirst),
      fill[0] | (fill[1] << 8) | (fill[2] << 16),
    ]);
    const taps = burst.storageOf('taps', second.table);
    const levels = burst.storageOf('pixel levels', levelsOf(normalization));
    burst.dispatch(
      this.#second,
      [size, between, taps, levels, pixels],
      [Math.ceil(first.length / RESIZE_WORKGROUP[0]), Math.ceil(second.length / RESIZE_WORKGROUP[1])],
    );
    for (const buffer of [size, taps, levels]) burst.free(buffer);
    image.release(burst);
  }

  /**
   * The pixels of several images in one buffer of the task, (batch, 3, height, width), one image after the
   * other.
   *
   * @param remainder as for `prepare`
   * @throws ImageError INPUT_SHAPE if there is no image, or if their outputs differ in size; what `prepare`
   *   throws
   */
  async batch(
    task: Task,
    sources: readonly ImageSource[],
    options: PixelOptions = {},
    remainder = false,
  ): Promise<{ buffer: GPUBuffer; batch: number; height: number; width: number }> {
    let made: { buffer: GPUBuffer; batch: number; height: number; width: number } | undefined;
    for (const [index, source] of sources.entries()) {
      const image = await this.prepare(source, options, remainder);
      try {
        const { width, height, bytes } = image;
        made ??= {
          buffer: task.burst((burst) => burst.storage('pixels', sources.length * bytes)),
          batch: sources.length,
          height,
          width,
        };
        if (made.height !== height || made.width !== width) {
          const found = `image 0 with ${made.width} × ${made.height} and image ${index} with ${width} × ${height}`;
          throw new ImageError(
            'INPUT_SHAPE',
            `Batch: expected images of one size after resizing, found ${found}. Use resize: 'crop', or featuresBySize(), which makes a batch of each size.`,
          );
        }
        const { buffer } = made;
        task.burst((burst) => this.write(burst, image, buffer, index * bytes));
      } finally {
        image.dispose();
      }
    }
    if (!made)
      throw new ImageError('INPUT_SHAPE', 'Batch: expected at least 1 image, found 0. Hand in an image.');
    return made;
  }

  /**
   * What Python's image processor gives, in JavaScript's memory, with the remainder of a patch. Throws as
   * `batch` does.
   */
  read(sources: readonly ImageSource[], options: PixelOptions = {}): Promise<Pixels> {
    return this.#gpu.task('pixels', options.signal, async (task) => {
      const { buffer, batch, height, width } = await this.batch(task, sources, options, true);
      const bytes = await task.read(buffer, 0, batch * 3 * height * width * Float32Array.BYTES_PER_ELEMENT);
      return { data: new Float32Array(bytes), batch, height, width };
    });
  }

  dispose(): void {
    this.#disposed = true;
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

  /** The taps of the first pass and of the second. */
  #lines(geometry: Geometry, resample: Resample): readonly [Taps, Taps] {
    const { sourceWidth, sourceHeight, resizedWidth, resizedHeight, left, top, width, height } = geometry;
    const columns = this.#tapsFor(sourceWidth, resizedWidth, left, width, resample);
    const rows = this.#tapsFor(sourceHeight, resizedHeight, top, height, resample);
    return geometry.verticalFirst ? [rows, columns] : [columns, rows];
  }

  /** The one that was not used for longest goes. */
  #tapsFor(sourceSize: number, resizedSize: number, first: number, length: number, resample: Resample): Taps {
    const key = [sourceSize, resizedSize, first, length, resample].join();
    const taps = this.#taps.get(key) ?? resizeTaps(sourceSize, resizedSize, first, length, resample);
    this.#taps.delete(key);
    this.#taps.set(key, taps);
    if (this.#taps.size > KEPT_TAPS) this.#taps.delete(this.#taps.keys().next().value!);
    return taps;
  }
}
