/**
 * Computes features and vectors of many images: decodes several images at a time, and computes them in
 * batches.
 */
import { ImageError, OptionError } from './errors.js';
import { MAX_TOKENS } from './session/forwards.js';
import type { Session } from './session/session.js';
import type { Sessions } from './session/sessions.js';
import { loadPart } from './platform/part.js';
import { pause } from './platform/pause.js';
import { checkResize, resolvePreprocessing } from './image/geometry.js';
import type { PreparedImage } from './image/preparedImage.js';
import { lostError } from './gpu/device.js';
import type { Profile } from './gpu/measure/profile.js';
import type { PixelOptions, Pixels } from './image/preprocess.js';
import type { Preprocessing } from './image/preprocessing.js';
import {
  canBeReadAgain,
  decodeSource,
  keepsItsPixels,
  withOwnBytes,
  type ImageSource,
} from './image/source.js';
import type { Thumbnail } from './image/thumbnail.js';
import { isBlob } from './optionObject.js';
import type { Features } from './features.js';
import type {
  BySizeOptions,
  EmbedAllOptions,
  EmbedOptions,
  FeatureGroup,
  FeatureOptions,
  ForwardOptions,
} from './options.js';
import { inBatches, type BatchSteps, type BatchItem } from './tasks/batches.js';
import { embedInBatches, type Embedded, type Embedding, type EmbedSteps } from './tasks/embedAll.js';
import { checkPooling, normalize, pool } from './tasks/pooling.js';
import { show } from './platform/json.js';

/** Default number of images in a forward pass. */
const BATCH_SIZE = 8;

/** Implements the methods of `DINOv2` that take many images. */
export class Embedder {
  readonly #sessions: Sessions;
  readonly #patchSize: number;
  readonly #preprocessing: Preprocessing;

  constructor(sessions: Sessions, patchSize: number, preprocessing: Preprocessing) {
    this.#sessions = sessions;
    this.#patchSize = patchSize;
    this.#preprocessing = preprocessing;
  }

  /** Implements `DINOv2.features`. */
  features(images: readonly ImageSource[], options: FeatureOptions): Promise<Features> {
    return this.#runAll(images, options, async ({ gpu, preprocessor, forwards }, own) => {
      const patchSize = this.#patchSize;
      // The task keeps the buffer, so the task ends without waiting for the GPU. If the task failed on the
      // GPU, the forward pass or the first read of the features throws the error.
      const { buffer, batch, height, width, placements } = await gpu.task(
        'features',
        options.signal,
        async (task) => {
          const made = await preprocessor.batch(task, own, options);
          task.keep(made.buffer);
          return made;
        },
      );
      try {
        return await forwards.run(
          { batch, rows: height / patchSize, cols: width / patchSize },
          placements,
          options,
          (burst, pixels) => burst.copy(buffer, 0, pixels, 0, buffer.size),
        );
      } finally {
        gpu.memory.destroy(buffer);
      }
    });
  }

  /** Implements `DINOv2.pixels`. */
  pixels(images: readonly ImageSource[], options: PixelOptions): Promise<Pixels> {
    return this.#runAll(images, options, ({ preprocessor }, own) => preprocessor.read(own, options));
  }

  /** Implements `DINOv2.profile`. */
  profile(images: readonly ImageSource[], options: PixelOptions): Promise<Profile> {
    return this.#runAll(images, options, async (session, own) => {
      const { profileImages } = await loadPart(import('./session/profile.js'));
      return profileImages(session, own, options, this.#patchSize);
    });
  }

  /** Implements `DINOv2.featuresBySize`. */
  groups(images: readonly ImageSource[], options: BySizeOptions): Promise<FeatureGroup[]> {
    const { batchSize = BATCH_SIZE, signal } = options;
    checkWhole('batchSize', batchSize, 1);
    // After a loss all groups are computed again, because earlier groups are on the lost device.
    return this.#runAll(images, options, async (session, own) => {
      const steps = {
        ...commonSteps,
        prepare: (image: ImageSource) => this.#prepare(session, image, options),
        compute: (prepared: readonly Prepared[]) => this.#groupsOf(session, prepared, options),
        discard: disposeGroups,
      };
      const groups: FeatureGroup[] = [];
      try {
        for await (const { items, results } of inBatches(own, steps, { batchSize, full: true, signal })) {
          for (const { indices, features } of results)
            groups.push({ indices: indices.map((i) => items[i]!.index), features });
          throwFirst(items);
        }
        return groups;
      } catch (error) {
        disposeGroups(groups);
        throw error;
      }
    });
  }

  /** Implements `DINOv2.embed` for an array. */
  async embed(images: readonly ImageSource[], options: EmbedOptions): Promise<Float32Array<ArrayBuffer>[]> {
    checkPooling(options.pooling);
    const steps = {
      ...this.#embedSteps(options),
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
    const { batchSize = BATCH_SIZE, pooling, thumbnailPx = 0, patches, signal } = options;
    checkWhole('batchSize', batchSize, 1);
    checkWhole('thumbnailPx', thumbnailPx, 0);
    checkPooling(pooling);
    checkResize(options, this.#patchSize);
    yield* embedInBatches(images, this.#embedSteps(options, thumbnailPx, patches), batchSize, signal);
  }

  /**
   * Runs a task whose images, if the device is lost, are read again from their sources. The task gets copies of
   * bytes, because the caller may change the bytes meanwhile.
   */
  async #runAll<Result>(
    images: readonly ImageSource[],
    { signal }: PixelOptions,
    task: (session: Session, own: readonly ImageSource[]) => Promise<Result>,
  ): Promise<Result> {
    const own = images.map(withOwnBytes);
    return this.#sessions.run(
      (session) => task(session, own),
      signal,
      () => own.every(canBeReadAgain),
    );
  }

  /**
   * The steps of `embed` and `embedAll`. After a loss of the device, only the images in progress are prepared
   * and computed again.
   */
  #embedSteps(
    options: EmbedOptions,
    thumbnailPx = 0,
    withPatches = false,
  ): EmbedSteps<ImageSource, Prepared> {
    const { signal } = options;
    return {
      ...commonSteps,
      prepare: (image) =>
        this.#runAll([image], options, (session, [own]) =>
          this.#prepare(session, own!, options, thumbnailPx),
        ),
      compute: (prepared) =>
        this.#sessions.run(async (session) => {
          for (const each of prepared) {
            if (each.session === session) continue;
            // The old device may live on, if the caller passed a new one.
            if (!canBeReadAgain(each.source)) {
              each.session.gpu.check(); // says why the device was lost
              throw lostError('replaced', 'An image may have changed.');
            }
            const { image } = await this.#prepare(session, each.source, options);
            each.image.dispose();
            Object.assign(each, { session, image });
          }
          return this.#embed(session, prepared, options, withPatches);
        }, signal),
    };
  }

  async #prepare(
    session: Session,
    source: ImageSource,
    options: PixelOptions,
    thumbnailPx = 0,
  ): Promise<Prepared> {
    // Wrong options throw an error here, before the image is decoded.
    resolvePreprocessing(this.#preprocessing, options, this.#patchSize);
    const small = thumbnailPx > 0 && isBlob(source) && (await import('./image/thumbnail.js'));
    const decoding = decodeSource(session.gpu, source, options);
    // An image that needs no decoding is uploaded without an `await`, so that the caller cannot change the
    // image before the upload.
    const decoded = 'then' in decoding ? await decoding : decoding;
    try {
      if (small) await pause(); // lets the page draw before the thumbnail is made
      const thumbnail = small
        ? small.thumbnailOf(decoded, source as Blob, thumbnailPx, options.signal)
        : undefined;
      const image = await session.preprocessor.prepareDecoded(decoded, options);
      const [rows, cols] = [image.height / this.#patchSize, image.width / this.#patchSize];
      if (!session.forwards.canHold(rows, cols)) {
        image.dispose();
        throw new ImageError(
          'IMAGE_SIZE',
          `${decoded.name}: expected an image of at most ${MAX_TOKENS} tokens, found ${rows} × ${cols} = ${rows * cols} patches. Use a smaller image, or set resize: 'crop'.`,
        );
      }
      return { session, source, image, thumbnail };
    } finally {
      decoded.close();
    }
  }

  /** Groups the prepared images by size, and runs a forward pass for each group. */
  async #groupsOf(
    session: Session,
    images: readonly Prepared[],
    options: ForwardOptions,
  ): Promise<FeatureGroup[]> {
    const groups: FeatureGroup[] = [];
    try {
      for (const indices of bySize(images))
        groups.push({
          indices,
          features: await this.#forwardOf(
            session,
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
    session: Session,
    images: readonly Prepared[],
    { pooling = 'cls', normalize: unit = true, signal }: EmbedOptions,
    withPatches = false,
  ): Promise<Embedding[]> {
    const made: Embedding[] = [];
    for (const indices of bySize(images)) {
      const features = await this.#forwardOf(
        session,
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
  #forwardOf(
    { forwards, preprocessor }: Session,
    images: readonly PreparedImage[],
    options: ForwardOptions,
  ): Promise<Features> {
    const patchSize = this.#patchSize;
    const { height, width } = images[0]!;
    return forwards.run(
      { batch: images.length, rows: height / patchSize, cols: width / patchSize },
      images.map((image) => image.placement(patchSize)),
      options,
      (burst, pixels) =>
        images.forEach((image, i) => preprocessor.write(burst, image, pixels, i * image.bytes)),
    );
  }
}

/** An image that is decoded and has been uploaded to the GPU. */
interface Prepared {
  /** The session on whose device the image is. */
  readonly session: Session;
  readonly source: ImageSource;
  readonly image: PreparedImage;
  readonly thumbnail: Promise<Thumbnail | undefined> | undefined;
}

/** The steps of processing a batch that are the same in all methods. */
const commonSteps: Pick<BatchSteps<ImageSource, Prepared, never>, 'release' | 'isStable'> = {
  release: ({ image }) => image.dispose(),
  isStable: keepsItsPixels,
};

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

/** Checks that an option is a whole number from `least`. @throws OptionError OPTION_VALUE */
function checkWhole(name: string, value: number, least: number): void {
  if (Number.isInteger(value) && value >= least) return;
  throw new OptionError(
    'OPTION_VALUE',
    `${name}: expected a whole number from ${least}, found ${show(value)}.`,
  );
}
