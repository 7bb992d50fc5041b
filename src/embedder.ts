/**
 * Computes features and vectors of many images: decodes several images at a time, and computes them in
 * batches.
 */
import { ImageError, OptionError } from './errors.js';
import { MAX_TOKENS, type Forwards } from './session/forwards.js';
import type { Gpu } from './gpu/device.js';
import { pause } from './platform/pause.js';
import { checkResize, resolvePreprocessing } from './image/geometry.js';
import type { PreparedImage } from './image/preparedImage.js';
import type { PixelOptions, Preprocessor } from './image/preprocess.js';
import type { Preprocessing } from './image/preprocessing.js';
import { decodeSource, keepsItsPixels, type ImageSource } from './image/source.js';
import type { Thumbnail } from './image/thumbnail.js';
import { isBlob } from './optionObject.js';
import type { Features } from './features.js';
import type {
  BySizeOptions,
  EmbedAllOptions,
  EmbedOptions,
  FeatureGroup,
  ForwardOptions,
} from './options.js';
import { inBatches, type BatchSteps, type BatchItem } from './tasks/batches.js';
import { embedInBatches, type Embedded, type Embedding } from './tasks/embedAll.js';
import { checkPooling, normalize, pool } from './tasks/pooling.js';

/** Default number of images in a forward pass. */
const BATCH_SIZE = 8;

/** Implements the methods of `DINOv2` that take many images. */
export class Embedder {
  readonly #gpu: Gpu;
  readonly #preprocessor: Preprocessor;
  readonly #forwards: Forwards;
  readonly #patchSize: number;
  readonly #preprocessing: Preprocessing;

  constructor(
    gpu: Gpu,
    preprocessor: Preprocessor,
    forwards: Forwards,
    patchSize: number,
    preprocessing: Preprocessing,
  ) {
    this.#gpu = gpu;
    this.#preprocessor = preprocessor;
    this.#forwards = forwards;
    this.#patchSize = patchSize;
    this.#preprocessing = preprocessing;
  }

  /** Implements `DINOv2.featuresBySize`. */
  async groups(images: readonly ImageSource[], options: BySizeOptions): Promise<FeatureGroup[]> {
    const { batchSize = BATCH_SIZE, signal } = options;
    checkBatchSize(batchSize);
    const steps = {
      ...this.#steps(options),
      compute: (prepared: readonly Prepared[]) => this.#groupsOf(prepared, options),
      discard: disposeGroups,
    };
    const groups: FeatureGroup[] = [];
    try {
      for await (const { items, results } of inBatches(images, steps, { batchSize, full: true, signal })) {
        for (const { indices, features } of results)
          groups.push({ indices: indices.map((i) => items[i]!.index), features });
        throwFirst(items);
      }
      return groups;
    } catch (error) {
      disposeGroups(groups);
      throw error;
    }
  }

  /** Implements `DINOv2.embed` for an array. */
  async embed(images: readonly ImageSource[], options: EmbedOptions): Promise<Float32Array<ArrayBuffer>[]> {
    checkPooling(options.pooling);
    const steps = {
      ...this.#steps(options),
      compute: (prepared: readonly Prepared[]) => this.#embed(prepared, options),
      isStable: () => true, // the array does not change
    };
    const how = { batchSize: BATCH_SIZE, full: true, signal: options.signal };
    const vectors: Float32Array<ArrayBuffer>[] = [];
    for await (const { items, results } of inBatches(images, steps, how)) {
      throwFirst(items);
      vectors.push(...results.map(({ embedding }) => embedding));
    }
    return vectors;
  }

  /** Implements `DINOv2.embedAll`. */
  async *embedAll(
    images: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    options: EmbedAllOptions,
  ): AsyncGenerator<Embedded, void, undefined> {
    const { batchSize = BATCH_SIZE, pooling, thumbnailPx = 0, signal } = options;
    checkBatchSize(batchSize);
    if (!Number.isInteger(thumbnailPx) || thumbnailPx < 0)
      throw new OptionError(
        'OPTION_VALUE',
        `thumbnailPx: expected a whole number from 0, found ${String(thumbnailPx)}.`,
      );
    checkPooling(pooling);
    checkResize(options, this.#patchSize);
    const steps = {
      ...this.#steps(options, thumbnailPx),
      compute: (prepared: readonly Prepared[]) => this.#embed(prepared, options, options.patches),
    };
    yield* embedInBatches(images, steps, batchSize, signal);
  }

  /** The steps of processing a batch that are the same in all methods. */
  #steps(
    options: PixelOptions,
    thumbnailPx = 0,
  ): Pick<BatchSteps<ImageSource, Prepared, never>, 'prepare' | 'release' | 'isStable'> {
    return {
      prepare: (image) => this.#prepare(image, options, thumbnailPx),
      release: ({ image }) => image.dispose(),
      isStable: keepsItsPixels,
    };
  }

  async #prepare(source: ImageSource, options: PixelOptions, thumbnailPx: number): Promise<Prepared> {
    // Wrong options throw an error here, before the image is decoded.
    resolvePreprocessing(this.#preprocessing, options, this.#patchSize);
    const file = thumbnailPx > 0 && isBlob(source) ? source : undefined;
    const small = file && (await import('./image/thumbnail.js'));
    const decoding = decodeSource(this.#gpu, source, options);
    // An image that needs no decoding is uploaded without an `await`, so that the caller cannot change the
    // image before the upload.
    const decoded = 'then' in decoding ? await decoding : decoding;
    try {
      if (small) await pause(); // lets the page draw before the thumbnail is made
      const thumbnail = small?.thumbnailOf(decoded, file!, thumbnailPx, options.signal);
      const image = await this.#preprocessor.prepareDecoded(decoded, options);
      const [rows, cols] = [image.height / this.#patchSize, image.width / this.#patchSize];
      if (!this.#forwards.canHold(rows, cols)) {
        image.dispose();
        throw new ImageError(
          'IMAGE_SIZE',
          `${decoded.name}: expected an image of at most ${MAX_TOKENS} tokens, found ${rows} × ${cols} = ${rows * cols} patches. Use a smaller image, or set resize: 'crop'.`,
        );
      }
      return { image, thumbnail };
    } finally {
      decoded.close();
    }
  }

  /** Groups the prepared images by size, and runs a forward pass for each group. */
  async #groupsOf(images: readonly Prepared[], options: ForwardOptions): Promise<FeatureGroup[]> {
    const groups: FeatureGroup[] = [];
    try {
      for (const indices of bySize(images))
        groups.push({
          indices,
          features: await this.#forwardOf(
            indices.map((index) => images[index]!.image),
            options,
          ),
        });
      return groups;
    } catch (error) {
      disposeGroups(groups);
      throw error;
    }
  }

  /** Computes the vector of each prepared image, and if requested also its patch tokens and its thumbnail. */
  async #embed(
    images: readonly Prepared[],
    { pooling = 'cls', normalize: unit = true, signal }: EmbedOptions,
    withPatches = false,
  ): Promise<Embedding[]> {
    const made: Embedding[] = [];
    for (const indices of bySize(images)) {
      const features = await this.#forwardOf(
        indices.map((index) => images[index]!.image),
        { signal },
      );
      try {
        const { batch, rows, cols, numTokens, numRegisterTokens, embedDim } = features;
        const clsAlone = pooling === 'cls' && !withPatches; // if true, only the cls tokens are read from the GPU
        const tokens = clsAlone ? await features.clsToken() : await features.lastHiddenState();
        const vectors = pool(
          { tokens, batch, numTokens: clsAlone ? 1 : numTokens, numRegisterTokens, embedDim },
          pooling,
        );
        for (const [i, index] of indices.entries()) {
          const first = i * numTokens + 1 + numRegisterTokens;
          made[index] = {
            embedding: unit ? normalize(vectors[i]!) : vectors[i]!,
            ...(withPatches && {
              patches: { rows, cols, tokens: tokens.slice(first * embedDim, (i + 1) * numTokens * embedDim) },
            }),
            ...(images[index]!.thumbnail && { thumbnail: await images[index]!.thumbnail }),
          };
        }
      } finally {
        features.dispose();
      }
    }
    return made;
  }

  /** Runs a forward pass on prepared images, all of the same size. */
  #forwardOf(images: readonly PreparedImage[], options: ForwardOptions): Promise<Features> {
    const patchSize = this.#patchSize;
    const { height, width } = images[0]!;
    return this.#forwards.run(
      { batch: images.length, rows: height / patchSize, cols: width / patchSize },
      images.map((image) => image.placement(patchSize)),
      options,
      (burst, pixels) =>
        images.forEach((image, i) => this.#preprocessor.write(burst, image, pixels, i * image.bytes)),
    );
  }
}

/** An image that is decoded and has been uploaded to the GPU. */
interface Prepared {
  readonly image: PreparedImage;
  readonly thumbnail: Promise<Thumbnail | undefined> | undefined;
}

/** Groups images by size. Returns one array of image indices for each size. */
function bySize(images: readonly Prepared[]): number[][] {
  const groups = new Map<string, number[]>();
  for (const [index, { image }] of images.entries()) {
    const size = `${image.height} × ${image.width}`;
    groups.set(size, [...(groups.get(size) ?? []), index]);
  }
  return [...groups.values()];
}

function disposeGroups(groups: readonly FeatureGroup[]): void {
  for (const { features } of groups) features.dispose();
}

/** If images could not be used, throws the error of the first such image. */
function throwFirst(items: readonly BatchItem<unknown>[]): void {
  for (const { error } of items) if (error) throw error;
}

/** Checks the option `batchSize`. @throws OptionError OPTION_VALUE */
function checkBatchSize(batchSize: number): void {
  if (Number.isInteger(batchSize) && batchSize >= 1) return;
  throw new OptionError(
    'OPTION_VALUE',
    `batchSize: expected a whole number from 1, found ${String(batchSize)}.`,
  );
}
