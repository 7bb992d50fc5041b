/** Computes the features of a picture, and measures the time. */
import type { DINOv2, Features } from '../../src/index.js';
import type { InputSize, Picture } from '../shared/picture.js';

export interface Run {
  readonly features: Features;
  readonly forwardMs: number;
}

/**
 * Computes the features of a decoded picture, with the attention of one block. The time includes
 * uploading the picture and reading the class token.
 */
export async function run(
  model: DINOv2,
  { bitmap }: Picture,
  input: InputSize,
  block: number,
  signal: AbortSignal,
): Promise<Run> {
  const startMs = performance.now();
  const attentions = [block];
  const features = await model.features(
    bitmap,
    input === 'crop' ? { attentions, signal } : { attentions, resize: 'fit', longestSide: input, signal },
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
const WARM_BUDGET_MS = 1500;

/** Returns the median time in ms of up to seven forward passes. Fewer are run if they take too long. */
export async function warmMs(
  model: DINOv2,
  picture: Picture,
  input: InputSize,
  signal: AbortSignal,
): Promise<number> {
  const times: number[] = [];
  const startMs = performance.now();
  do {
    const { features, forwardMs } = await run(model, picture, input, -1, signal);
    features.dispose();
    times.push(forwardMs);
  } while (times.length < WARM_RUNS && performance.now() - startMs < WARM_BUDGET_MS);
  times.sort((a, b) => a - b);
  return times[times.length >> 1]!;
}
