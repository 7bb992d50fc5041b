/** The page's calls of the library: loading, features, their colours, and timing. */
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

/** The library's class `DINOv2`, of the page or of its worker. */
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
    model.dispose(); // the load ended just before the abort
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
 * library does with `orientation: 'respect'`. Throws an ImageError if the browser cannot decode the file.
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
 * Computes features of a decoded picture. The measured time includes the upload and reading one small
 * vector.
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

/** Returns the median time of up to seven forward passes, within a time budget. */
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

/** Draws features as colours, one canvas pixel per patch. Returns whether it found a foreground. */
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
