/**
 * Resizes, crops and normalizes images on the GPU, bit for bit as the checkpoint's image processor does with
 * Pillow. Two steps: `prepare` decodes, uploads and runs the first resize pass; `write` runs the second pass.
 * The caller therefore knows the output size before it allocates a buffer for the batch.
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
import type { ImagePlacement } from './placement.js';
import { levelsOf } from './normalization.js';
import { swapsSides, TURN_FLIP_Y, TURN_TRANSPOSE, TURNS } from './orientation.js';
import { PreparedImage } from './preparedImage.js';
import { DEFAULT_PREPROCESSING, type Preprocessing, type PreprocessingOptions } from './preprocessing.js';
import { decodeSource, type DecodedImage, type ImageSource, type SourceOptions } from './source.js';
import { planStrips } from './strips.js';
import { openUpload, type Upload } from './upload.js';

/** Options for decoding and preprocessing an image. */
export interface PixelOptions extends PreprocessingOptions, SourceOptions {}

export interface PreprocessorOptions {
  /** Side of a patch in pixels. Default 14. */
  readonly patchSize?: number | undefined;
  /** The checkpoint's preprocessing. Default: the preprocessing of facebook/dinov2. */
  readonly preprocessing?: Preprocessing | undefined;
  /**
   * Maximum size in bytes of a strip (consecutive rows of an image). A single row may be longer. An image is
   * uploaded strip by strip, with at most four strips on the GPU. Default 16 MiB, which occupies a page's
   * thread for about 20 ms.
   */
  readonly stripBytes?: number | undefined;
}

/** Preprocessed images: the model's input. */
export interface Pixels {
  /** Normalized values, (batch, 3, height, width). */
  readonly data: Float32Array<ArrayBuffer>;
  /** Number of images. */
  readonly batch: number;
  /** Height of each image in pixels. */
  readonly height: number;
  /** Width of each image in pixels. */
  readonly width: number;
}

/** Preprocessed images on the GPU. */
export interface PixelBatch {
  /** Normalized values, (batch, 3, height, width). */
  readonly buffer: GPUBuffer;
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  /** How the pixels of each image map to patches. */
  readonly placements: ImagePlacement[];
}

const STRIP_BYTES = 2 ** 24;
/** Maximum number of strips of one file on the GPU. With this many strips, the upload waits for the GPU. */
const STRIPS_AT_ONCE = 4;
/** Images up to this size are uploaded without waiting for the GPU. */
const SMALL_BYTES = 2 ** 22;
/**
 * Number of cached tap tables (source pixels and weights of a resize). A video needs two tables; photographs
 * from a few cameras need a few more.
 */
const CACHED_TAPS = 16;

/** The preprocessing pipeline of one model. */
export class Preprocessor {
  readonly #gpu: Gpu;
  readonly #patchSize: number;
  readonly #preprocessing: Preprocessing;
  readonly #stripBytes: number;
  readonly #first: CompiledKernel;
  readonly #second: CompiledKernel;
  /** Cached tap tables, the least recently used first. */
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

  /** Compiles the two kernels, which serve every image size. */
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
   * Decodes an image, uploads it and runs the first pass of its resize.
   *
   * @param remainder true to keep the incomplete patches at the right and bottom, which Python's pixels
   *   include and the model ignores
   * @throws OptionError, if the options contradict each other; ImageError as thrown by `decodeSource`, and
   *   with the code IMAGE_SIZE if the image or the output is empty or too large; DeviceError, if the GPU
   *   fails
   * @throws `signal.reason` after an abort
   */
  async prepare(source: ImageSource, options: PixelOptions = {}, remainder = false): Promise<PreparedImage> {
    this.#checkNotDisposed();
    resolvePreprocessing(this.#preprocessing, options, this.#patchSize); // bad options fail before decoding
    const decoding = decodeSource(this.#gpu, source, options);
    // Awaits `decoding` only if it is a promise, because a video or canvas could change in a wait.
    const image = 'then' in decoding ? await decoding : decoding;
    try {
      return await this.prepareDecoded(image, options, remainder);
    } finally {
      image.close();
    }
  }

  /**
   * Does the same as `prepare`, for an image that is already decoded. The caller may close the image when the
   * promise resolves. Until then the image takes GPU memory besides that of `PreparedImage`: four strips for
   * a file; the whole image for pixels in memory; twice the image for a canvas, video or bitmap, which is
   * uploaded through a texture.
   */
  async prepareDecoded(
    image: DecodedImage,
    options: PixelOptions = {},
    remainder = false,
  ): Promise<PreparedImage> {
    this.#checkNotDisposed();
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
      const ignored = image.orientation === image.fileOrientation ? 1 : image.fileOrientation;
      return new PreparedImage(geometry, resolved, this.#gpu.memory, between, ignored);
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
    const result = await this.#gpu.task('image', signal, async (task) => {
      const { taps, between } = task.burst((burst) => ({
        taps: burst.storageOf('taps', along.table),
        between: burst.storage('resize between', rows * along.length * 4),
      }));
      for (const [index, strip] of strips.entries()) {
        // The upload of a picture that may change has no `load` method. Such a picture must be copied without
        // waiting, because a video continues to play during a wait.
        if (load) {
          if (index > 0 && index % STRIPS_AT_ONCE === 0) await task.computed(true);
          // Copying a strip takes as long as uploading it, so other tasks of the page get a turn before and
          // after the copy.
          if (isLarge) await pause();
          await load(strip.begin, strip.end);
          if (isLarge) await pause();
          signal?.throwIfAborted();
          this.#checkNotDisposed();
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
      // A large image occupies GPU memory until it is resized. Waiting here limits how many large images
      // occupy memory at the same time.
      if (isLarge) await task.computed(true);
      // For a picture that may change, nothing is awaited here. If the GPU reports an error, the next task
      // that uses the image's buffer throws this error.
      else if (load) await task.settled();
      return task.keep(between);
    });
    if (this.#disposed) this.#gpu.memory.destroy(result);
    this.#checkNotDisposed();
    return result;
  }

  /**
   * Runs the second pass of the resize. Writes the image's pixels, (3, height, width) in float32, to `pixels`
   * from byte `offset` on, and releases the image.
   */
  write(burst: Burst, image: PreparedImage, pixels: GPUBuffer, offset = 0): void {
    this.#checkNotDisposed();
    const { between, geometry, resample, bytes, normalization } = image;
    if (offset % 4 !== 0 || offset < 0 || offset + bytes > pixels.size) {
      throw new ImageError(
        'INPUT_SHAPE',
        `Pixels: expected ${bytes} bytes from offset ${offset}, a multiple of 4, found a buffer of ${pixels.size} bytes.`,
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
   * Preprocesses several images, one after the other, into one buffer of the task: (batch, 3, height, width).
   *
   * @param remainder as for `prepare`
   * @throws ImageError INPUT_SHAPE, if there is no image or if output sizes differ; also every error that
   *   `prepare` throws
   */
  async batch(
    task: Task,
    sources: readonly ImageSource[],
    options: PixelOptions = {},
    remainder = false,
  ): Promise<PixelBatch> {
    let result: PixelBatch | undefined;
    for (const [index, source] of sources.entries()) {
      const image = await this.prepare(source, options, remainder);
      try {
        const { width, height, bytes } = image;
        result ??= {
          buffer: task.burst((burst) => burst.storage('pixels', sources.length * bytes)),
          batch: sources.length,
          height,
          width,
          placements: [],
        };
        result.placements.push(image.placement(this.#patchSize));
        if (result.height !== height || result.width !== width) {
          const found = `image 0 with ${result.width} × ${result.height} and image ${index} with ${width} × ${height}`;
          throw new ImageError(
            'INPUT_SHAPE',
            `Batch: expected images of one size after resizing, found ${found}. Use resize: 'crop', or featuresBySize().`,
          );
        }
        const { buffer } = result;
        task.burst((burst) => this.write(burst, image, buffer, index * bytes));
      } finally {
        image.dispose();
      }
    }
    if (!result)
      throw new ImageError('INPUT_SHAPE', 'Batch: expected at least 1 image, found 0. Pass an image.');
    return result;
  }

  /**
   * Preprocesses images and reads the pixels back, including incomplete patches. The result equals the output
   * of Python's image processor.
   *
   * @throws the same errors as `batch`
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

  #checkNotDisposed(): void {
    if (this.#disposed)
      throw new DeviceError('DISPOSED', 'The preprocessor is disposed. Load the model again.');
  }

  /** Returns the taps of the first pass and of the second pass. */
  #lines(geometry: Geometry, resample: Resample): readonly [Taps, Taps] {
    const { sourceWidth, sourceHeight, resizedWidth, resizedHeight, left, top, width, height } = geometry;
    const columns = this.#tapsFor(sourceWidth, resizedWidth, left, width, resample);
    const rows = this.#tapsFor(sourceHeight, resizedHeight, top, height, resample);
    return geometry.verticalFirst ? [rows, columns] : [columns, rows];
  }

  /** Returns taps from the cache, or computes them and evicts the least recently used entry. */
  #tapsFor(sourceSize: number, resizedSize: number, first: number, length: number, resample: Resample): Taps {
    const key = [sourceSize, resizedSize, first, length, resample].join();
    const taps = this.#taps.get(key) ?? resizeTaps(sourceSize, resizedSize, first, length, resample);
    this.#taps.delete(key);
    this.#taps.set(key, taps);
    if (this.#taps.size > CACHED_TAPS) this.#taps.delete(this.#taps.keys().next().value!);
    return taps;
  }
}
