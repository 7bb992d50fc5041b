/**
 * The calls of the library that the page makes: loading a model, computing features, colouring them, and
 * measuring time.
 */
import {
  ImageError,
  PCA,
  type DINOv2,
  type Features,
  type LoadOptions,
  type LoadProgress,
  type ModelFiles,
  type ModelSize,
} from '../src/index.js';
import { hubId, type InputSize, type Loaded, type ModelChoice, type Picture } from './state.js';

/**
 * The library's class `DINOv2`: the class that runs models in the page, or the class that runs them in a
 * worker.
 */
export interface ModelClass<Model> {
  fromPretrained(id: string, options: Options): Promise<Model>;
  fromFiles(files: ModelFiles, options: Options): Promise<Model>;
  synthetic(size: ModelSize, options: Options & { readonly registers?: boolean }): Promise<Model>;
}
type Options = Pick<LoadOptions, 'dtype' | 'signal' | 'onProgress'>;

export async function loadModel<Model extends { dispose(): void }>(
  from: ModelClass<Model>,
  choice: ModelChoice,
  signal: AbortSignal,
  onProgress: (progress: LoadProgress) => void,
): Promise<Loaded<Model>> {
  const startMs = performance.now();
  const model = await open(from, choice, { dtype: choice.dtype, signal, onProgress });
  if (signal.aborted) {
    model.dispose(); // the load succeeded just before it was aborted: nobody uses its model
    throw signal.reason;
  }
  return { model, choice, loadMs: performance.now() - startMs };
}

function open<Model>(from: ModelClass<Model>, choice: ModelChoice, options: Options): Promise<Model> {
  switch (choice.weights) {
    case 'hub':
      return from.fromPretrained(hubId(choice), options);
    case 'file':
      return from.fromFiles(
        { weights: choice.file!, config: choice.config, preprocessor: choice.preprocessor },
        options,
      );
    case 'synthetic':
      return from.synthetic(choice.size, { ...options, registers: choice.registers });
  }
}

/**
 * Decodes a picture once, for the page and for the model: upright and without colour management, as the
 * library does with `orientation: 'respect'`. Throws an ImageError if the browser cannot decode the picture.
 */
export async function decode(blob: Blob, model: DINOv2 | undefined): Promise<ImageBitmap> {
  try {
    return await createImageBitmap(blob, {
      imageOrientation: 'from-image',
      colorSpaceConversion: 'none',
      premultiplyAlpha: 'none',
    });
  } catch (cause) {
    (await model?.features(blob))?.dispose();
    throw new ImageError(
      'IMAGE_DECODE',
      `Expected a picture, found ${blob.size} bytes that this browser cannot decode (${String(cause)}). Use PNG, JPEG or WebP.`,
      { cause },
    );
  }
}

export interface Run {
  readonly features: Features;
  readonly forwardMs: number;
}

/**
 * Computes the features of a decoded picture, and measures the time. The time includes uploading the picture
 * and reading the class token.
 */
export async function run(
  model: DINOv2,
  { bitmap }: Picture,
  input: InputSize,
  signal: AbortSignal,
): Promise<Run> {
  const startMs = performance.now();
  const features = await model.features(
    bitmap,
    input === 'crop' ? { signal } : { resize: 'fit', longestSide: input, signal },
  );
  try {
    await features.clsToken();
    signal.throwIfAborted();
  } catch (error) {
    features.dispose();
    throw error;
  }
  return { features, forwardMs: performance.now() - startMs };
}

const WARM_RUNS = 7;
const WARM_BUDGET_MS = 2500;

/** Returns the median time in ms of up to seven forward passes. Fewer are run if they take too long. */
export async function warmMs(
  model: DINOv2,
  picture: Picture,
  input: InputSize,
  signal: AbortSignal,
): Promise<{ ms: number; runs: number }> {
  const times: number[] = [];
  const startMs = performance.now();
  do {
    const { features, forwardMs } = await run(model, picture, input, signal);
    features.dispose();
    times.push(forwardMs);
  } while (times.length < WARM_RUNS && performance.now() - startMs < WARM_BUDGET_MS);
  times.sort((a, b) => a - b);
  return { ms: times[times.length >> 1]!, runs: times.length };
}

/** Draws features as colours, one canvas pixel per patch. Returns true if the features have a foreground. */
export async function paint(
  features: Features,
  foreground: boolean,
  canvas: HTMLCanvasElement,
  signal: AbortSignal,
): Promise<boolean> {
  const pca = await PCA.fit(features, { foreground: foreground ? 'auto' : 'none', signal });
  await pca.draw(features, canvas, { signal });
  return pca.foreground !== undefined;
}
