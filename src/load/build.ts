/** Builds the parts of a model in parallel: kernels compile while weights arrive. */
import { untilAborted } from '../platform/abort.js';
import { loadPart } from '../platform/part.js';
import type { LinearHead } from '../weights/head.js';
import type { PrecisionChoice, PrecisionDecision, Precision } from '../weights/precision.js';
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
import type { LoadOptions, LoadProgress, LoadReport } from '../options.js';

import type { NamedHead } from './anyCheckpoint.js';
import type { Described } from './described.js';
import { withoutHead } from './settle.js';
import type { Settled, TensorReport } from './settled.js';
import type { ByteProgress } from './source.js';

/** The context of one load: device, options, and callbacks. */
export interface LoadContext {
  /** When the load began, by `performance.now`. */
  readonly startMs: number;
  readonly gpu: Gpu;
  readonly choice: PrecisionChoice;
  readonly posEmbed: PosEmbedConvention | undefined;
  /** Prefix of the model's tensor names. Undefined: the only prefix with a complete model. */
  readonly prefix: string | undefined;
  /** Aborted with the caller's signal, or with an error that `onProgress` threw. */
  readonly signal: AbortSignal;
  readonly report: (news: Partial<LoadProgress>) => void;
  readonly reload: boolean;
  readonly whole: boolean;
}

/**
 * All parts of a model. The owner frees the weights and the preprocessor, and releases the device with
 * `gpu.release()`.
 */
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

/** A model that can be loaded again. */
export interface ReloadableModel extends LoadedModel {
  /**
   * Loads the checkpoint again. The passed options replace those of the first load. Undefined if the source
   * cannot be read twice.
   */
  readonly reload:
    ((changes: Pick<LoadOptions, 'device' | 'dtype' | 'signal'>) => Promise<ReloadableModel>) | undefined;
}

/** Loaded weights, with their origin. */
export interface Loaded {
  readonly weights: WeightMemory;
  readonly head: LinearHead | undefined;
  readonly report: Omit<LoadReport, keyof TensorReport | 'loadMs'>;
}

/**
 * Starts compiling and testing the kernels of a model. The result decides how the model's weights are
 * stored.
 */
export function decide({ choice }: LoadContext, config: DINOv2Config): PrecisionDecision {
  // No kernel depends on the input's size, so the smallest forward pass uses all kernels. The graph includes
  // a mask, because a later call may use one.
  return choice.decide(buildForward(config, { batch: 1, rows: 1, cols: 1 }, { masked: true }).graph.nodes);
}

/**
 * Builds a model with this configuration. `load` loads the weights while the kernels are compiled and
 * tested, or afterwards if the self-test decides the storage layout. The signal that `load` receives is
 * aborted with the caller's signal, or when a different part of the build has failed. After any failure
 * every resource is freed.
 */
export async function build(
  { gpu, posEmbed, signal, startMs }: LoadContext,
  { known, tested }: PrecisionDecision,
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
  const all = Promise.all([loading, preparing, untilAborted(() => tested, signal), naming]).then(
    async (made) => {
      signal.throwIfAborted();
      if (made[0].weights.large) made[2] = (await made[2].withLargeWeights?.()) ?? made[2];
      return made;
    },
  );
  const [{ weights, report }, preprocessor, precision, head] = await all.catch(async (error: unknown) => {
    // One part failed, so the results of the other parts are freed.
    givingUp.abort(error);
    const disposing = preparing.then(
      (unused) => unused.dispose(),
      () => undefined,
    );
    const [late] = await Promise.allSettled([loading]);
    if (late.status === 'fulfilled') late.value.weights.destroy();
    if (!signal.aborted) await disposing; // after an abort the caller does not wait, because compiling kernels may take long
    throw error;
  });
  // `target`, by which kernels are chosen for a GPU and a weight storage, is computed again here, because
  // the self-test may have found kernels that round differently. If so, the choice must not depend on the
  // input's size.
  return {
    gpu,
    config,
    precision,
    target: { ...targetOf(gpu, precision.storage), ...precision.more },
    weights,
    preprocessing,
    preprocessor,
    head,
    report: { ...report, ...withoutHead(tensors, head?.head), loadMs: performance.now() - startMs },
  };
}

/** Loads weights from a stream of tensors, and a classifier if the stream has one. */
export async function fill(
  { gpu, report }: LoadContext,
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

/** Passes progress on to `report`, and counts the bytes that have arrived. */
export function counting(report: LoadContext['report']): { onProgress: ByteProgress; fetched: () => number } {
  let loaded = 0;
  return {
    onProgress: (progress) => {
      loaded = progress.loadedBytes;
      report(progress);
    },
    fetched: () => loaded,
  };
}
