/** `describeImage`: computes the vector and the patch tokens of an image in one forward pass. */
import { DINOv2Error } from '../../errors.js';
import type { PixelOptions } from '../../image/preprocess.js';
import { checkOptions } from '../../optionNames.js';
import { checkPooling, pool, type Pooling } from '../../tasks/pooling.js';
import type { PatchTokens } from '../options.js';
import type { IngestFeatures, IngestModel } from './target.js';

/** Options of `describeImage`: the options of `embed`, and `patches`. */
export interface DescribeOptions extends PixelOptions {
  /** How tokens become the vector. Default `cls`. */
  readonly pooling?: Pooling | undefined;
  /** True to return patch tokens too. Default false. */
  readonly patches?: boolean | undefined;
}

/** Vector and patches of an image, ready to be added to an index or searched for. */
export interface Description {
  /** The pooled embedding, (dim). Not normalized. */
  readonly vector: Float32Array<ArrayBuffer>;
  /** Patch tokens, if the option `patches` is set. */
  readonly patches?: PatchTokens | undefined;
}

/**
 * Computes the vector of an image, and its patch tokens if the option `patches` is set.
 * @throws ImageError if the image cannot be used; OptionError if options contradict each other; DeviceError;
 *   the signal's reason
 */
export async function describeImage(
  model: IngestModel,
  image: Blob,
  options: DescribeOptions = {},
): Promise<Description> {
  checkOptions('describeImage', options);
  const [only] = await describeImages(model, [image], options);
  if (only instanceof Error) throw only;
  return only!;
}

/**
 * Computes the vectors of images, which may differ in size. The results are in the order of the images. For
 * an image that cannot be used, the result is its error, and the other images are still computed. Any other
 * error is thrown.
 * @throws OptionError OPTION_VALUE if options contradict each other; DeviceError; the signal's reason
 */
export async function describeImages(
  model: IngestModel,
  images: readonly Blob[],
  options: DescribeOptions = {},
): Promise<(Description | Error)[]> {
  const { pooling = 'cls', patches = false, ...pixels } = options;
  checkPooling(pooling);
  const run = (): Promise<Description[]> => ofAll(model, images, pooling, patches, pixels);
  try {
    // If the device was lost after the features were computed, the model recovers in the second call.
    return await run().catch((error: unknown) => {
      if (error instanceof DINOv2Error && error.code === 'DEVICE_LOST') return run();
      throw error;
    });
  } catch (error) {
    if (!isOfTheImage(error, images.length)) throw error;
    if (images.length === 1) return [error];
  }
  // One image of the batch cannot be used, but the error does not say which. Try each image alone.
  const each: (Description | Error)[] = [];
  for (const image of images) each.push(...(await describeImages(model, [image], options)));
  return each;
}

/** True if an error means that an image, or the batch with the image, does not fit on the GPU. */
export const isTooLarge = (error: unknown): boolean =>
  error instanceof DINOv2Error && (error.code === 'DEVICE_LIMIT' || error.code === 'DEVICE_MEMORY');

/**
 * True if an error is caused by an image, not by the model, the device or the options. DEVICE_MEMORY counts
 * as such an error only for a batch of several images, because each image alone may fit on the GPU.
 */
function isOfTheImage(error: unknown, images: number): error is Error {
  if (error instanceof DOMException)
    return error.name === 'NotReadableError' || error.name === 'NotFoundError';
  if (!(error instanceof DINOv2Error)) return false;
  return (
    error.code.startsWith('IMAGE_') ||
    error.code === 'DEVICE_LIMIT' ||
    (error.code === 'DEVICE_MEMORY' && images > 1)
  );
}

async function ofAll(
  model: IngestModel,
  images: readonly Blob[],
  pooling: Pooling,
  patches: boolean,
  pixels: PixelOptions,
): Promise<Description[]> {
  const groups = await model.featuresBySize(images, pixels);
  const described: Description[] = [];
  try {
    for (const { indices, features } of groups) {
      (await descriptionsOf(features, pooling, patches)).forEach((description, i) => {
        described[indices[i]!] = description;
      });
    }
    return described;
  } finally {
    for (const { features } of groups) features.dispose();
  }
}

async function descriptionsOf(
  features: IngestFeatures,
  pooling: Pooling,
  withPatches: boolean,
): Promise<Description[]> {
  const { batch, rows, cols, embedDim, numTokens, numRegisterTokens } = features;
  if (pooling === 'cls' && !withPatches) {
    const cls = await features.clsToken();
    return Array.from({ length: batch }, (_, image) => ({
      vector: Float32Array.from(cls.subarray(image * embedDim, (image + 1) * embedDim)),
    }));
  }
  const tokens = await features.lastHiddenState();
  return pool({ tokens, batch, numTokens, numRegisterTokens, embedDim }, pooling).map((vector, image) => {
    if (!withPatches) return { vector };
    const first = image * numTokens + 1 + numRegisterTokens;
    return {
      vector,
      patches: { rows, cols, tokens: tokens.slice(first * embedDim, (image + 1) * numTokens * embedDim) },
    };
  });
}
