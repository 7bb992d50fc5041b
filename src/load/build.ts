/** The parts of a model, made side by side: kernels compile while weights arrive. */
import { untilAborted } from '../platform/abort.js';
import { loadPart } from '../platform/part.js';
import type { LinearHead } from '../weights/head.js';
import type { Choice, Decision, Precision } from '../weights/precision.js';
import type { TensorStream } from '../safetensors/tensorStream.js';
import type { WeightMemory, Weights } from '../weights/weightMemory.js';
import { loadWeights } from '../weights/weights.js';
import type { Gpu } from '../gpu/device.js';
import type { WeightStorage } from '../gpu/kernels/kernel.js';
import { targetOf, type Target } from '../gpu/lowering.js';
import { Preprocessor } from '../image/preprocess.js';
import { DEFAULT_PREPROCESSING, type Preprocessing } from '../image/preprocessing.js';
import type { DINOv2Config, PosEmbedConvention } from '../model/config.js';
import { buildForward } from '../model/vit.js';
import type { LoadProgress, LoadReport } from '../options.js';
import type { ClassLabels, ProblemType } from '../tasks/classLabels.js';

import type { Described } from './configFile.js';
import { withoutHead, type Settled, type TensorReport } from './settle.js';
import type { ByteProgress } from './source.js';

/** What a load has from its caller. */
export interface Making {
  readonly gpu: Gpu;
  readonly choice: Choice;
  readonly posEmbed: PosEmbedConvention | undefined;
  /** Behind which to look for the model. */
  readonly prefix: string | undefined;
  /** The caller's, and what its `onProgress` throws. */
  readonly signal: AbortSignal;
  readonly report: (news: Partial<LoadProgress>) => void;
  readonly reload: boolean;
  readonly whole: boolean;
}

/** A checkpoint's classifier, the names of its classes where they are known, and what it was trained for. */
export interface NamedHead {
  readonly head: LinearHead;
  readonly labels: ClassLabels | undefined;
  readonly problemType: ProblemType | undefined;
}

/** All of a model; whoever holds it frees it: weights, preprocessor, and the device with `gpu.release()`. */
export interface LoadedModel {
  readonly gpu: Gpu;
  readonly config: DINOv2Config;
  readonly precision: Precision;
  readonly target: Target;
  readonly weights: Weights;
  readonly preprocessing: Preprocessing;
  readonly preprocessor: Preprocessor;
  readonly head: NamedHead | undefined;
  readonly report: LoadReport;
}

/** Weights, and where they came from. */
export interface Loaded {
  readonly weights: WeightMemory;
  readonly head: LinearHead | undefined;
  readonly report: Omit<LoadReport, keyof TensorReport>;
}

/** Compiles the kernels of a model, tries them, and decides by that how its weights are stored. */
export function decide({ choice }: Making, config: DINOv2Config): Decision {
  // No kernel depends on the input's size, so the smallest forward names them all. A mask may come later.
  return choice.decide(buildForward(config, { batch: 1, rows: 1, cols: 1 }, { masked: true }).graph.nodes);
}

/**
 * A model of this configuration. `load` brings the weights while the kernels compile and are tried, or after
 * that where it depends on it how weights are stored; its signal fires when the caller's does, or when the
 * rest has failed. On any failure nothing is left behind.
 */
export async function build(
  { gpu, posEmbed, signal }: Making,
  { known, tested }: Decision,
  {
    config: found,
    preprocessing = DEFAULT_PREPROCESSING,
    tensors,
    ...described
  }: Described & { readonly config: DINOv2Config; readonly tensors: TensorReport },
  load: (storage: WeightStorage, signal: AbortSignal) => Promise<Loaded>,
): Promise<LoadedModel> {
  const config = posEmbed === undefined ? found : { ...found, posEmbed };
  const { storage } = await untilAborted(() => known, signal);
  const givingUp = new AbortController();
  const preparing = Preprocessor.create(gpu, { patchSize: config.patchSize, preprocessing });
  const loading = load(storage, AbortSignal.any([signal, givingUp.signal]));
  const naming = loading.then(async ({ head }) => {
    if (!head) return undefined;
    const { namedHead } = await loadPart(import('./anyCheckpoint.js'));
    return namedHead(head, described);
  });
  const all = Promise.all([loading, preparing, untilAborted(() => tested, signal), naming]).then((made) => {
    signal.throwIfAborted();
    return made;
  });
  const [{ weights, report }, preprocessor, precision, head] = await all.catch(async (error: unknown) => {
    // One of them failed: what the others make is not left behind.
    givingUp.abort(error);
    const disposing = preparing.then(
      (unused) => unused.dispose(),
      () => undefined,
    );
    const [late] = await Promise.allSettled([loading]);
    if (late.status === 'fulfilled') late.value.weights.destroy();
    if (!signal.aborted) await disposing; // its kernels may be long in compiling: an abort does not wait for them
    throw error;
  });
  // Anew: the self-test may have found kernels that round differently, and then the size of the input chooses
  // none.
  return {
    gpu,
    config,
    precision,
    target: targetOf(gpu, precision.storage),
    weights,
    preprocessing,
    preprocessor,
    head,
    report: { ...report, ...withoutHead(tensors, head?.head) },
  };
}

/** Weights and a classifier from a stream. */
export async function fill(
  { gpu, report }: Making,
  stream: TensorStream,
  { layout, watch }: Settled,
  storage: WeightStorage,
  signal: AbortSignal,
): Promise<Omit<Loaded, 'report'>> {
  const watched = watch?.(stream);
  const stop = (): void => void stream.cancel(signal.reason).catch(() => undefined);
  signal.addEventListener('abort', stop, { once: true });
  try {
    const options = { storage, signal, onTensor: report };
    const weights = await loadWeights(gpu, watched?.stream ?? stream, layout, options);
    return { weights, head: watched?.head() };
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** Hands progress on, and counts the bytes that came. */
export function counting(report: Making['report']): { onProgress: ByteProgress; fetched: () => number } {
  let loaded = 0;
  return {
    onProgress: (progress) => {
      loaded = progress.loadedBytes;
      report(progress);
    },
    fetched: () => loaded,
  };
}
