/** Similarity maps on the GPU: nothing is read back. */
import { similarityMap, similarityQuery, similaritySums } from '../gpu/kernels/similarityKernels.js';
import type { Kernel } from '../gpu/kernels/kernel.js';
import type { CompiledKernel } from '../gpu/pipelines.js';
import type { Burst } from '../gpu/task.js';
import { F32_BYTES } from '../graph/constants.js';
import { GpuPatchMap } from './gpuPatchMap.js';
import { checkOptions } from '../optionNames.js';
import { wrong } from './patchMap.js';
import type { PatchFeatures } from './patchMatrix.js';
import { placementAt, type PlacedPatches } from './placement.js';
import { isVector, unitOf, weightsOf, type SimilarityQuery } from './similarityQuery.js';

/** The part of `Features` that a similarity reads. */
export interface SimilarityFeatures extends PatchFeatures, PlacedPatches {}

/** Options of `Features.similarity`. */
export interface SimilarityOptions<Target = SimilarityFeatures | readonly SimilarityFeatures[]> {
  /** Index of the query's image in the batch. Default: 0. */
  readonly batchIndex?: number | undefined;
  /**
   * The features whose patches are compared with the query: of the same model size, on the same device.
   * Several features give several maps. Default: the features of the query.
   */
  readonly against?: Target | undefined;
  /**
   * Index of the compared image in the batch of `against`. Default: 0, or `batchIndex` if `against` is
   * absent.
   */
  readonly againstBatchIndex?: number | undefined;
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** Number of chosen patches that a workgroup of `similarity_sums` adds. */
const PATCHES_AT_ONCE = 16;
/** Number of patches that a workgroup of `similarity_map` computes. */
const PATCHES_OF_MAP = 4;

/** Implements `Features.similarity`. */
export async function similarityOf(
  features: SimilarityFeatures,
  query: SimilarityQuery,
  options: SimilarityOptions,
): Promise<GpuPatchMap | GpuPatchMap[]> {
  const {
    against,
    batchIndex,
    againstBatchIndex = against ? 0 : batchIndex,
    signal,
  } = checkOptions('similarity', options);
  const targets = [against ?? features].flat() as readonly SimilarityFeatures[];
  const maps = await mapsOf(features, query, targets, { batchIndex, againstBatchIndex, signal });
  return Array.isArray(against) ? maps : maps[0]!;
}

async function mapsOf(
  features: SimilarityFeatures,
  query: SimilarityQuery,
  targets: readonly SimilarityFeatures[],
  { batchIndex = 0, againstBatchIndex = 0, signal }: SimilarityOptions,
): Promise<GpuPatchMap[]> {
  const { gpu, embedDim } = features;
  signal?.throwIfAborted();
  const placement = placementAt('similarity', features.placements, batchIndex);
  for (const each of targets) checkTarget(features, each, againstBatchIndex);
  const vector = isVector(query) ? unitOf('similarity', query, embedDim) : undefined;
  const chosen = isVector(query) ? undefined : chosenOf(features, batchIndex, { placement, query });

  const compile = (kernel: Kernel): Promise<CompiledKernel> =>
    gpu.pipelines.compile({ kernel, constants: { EMBED_DIM: embedDim } });
  const [sums, unit, map] = await Promise.all([similaritySums, similarityQuery, similarityMap].map(compile));
  const buffers = await gpu.task('similarity', signal, (task) => {
    for (const { lease } of [features, ...targets]) if (lease) task.use(lease);
    return task.burst((burst) => {
      const record = (embedDim + 4) * F32_BYTES; // `query` of shaders/patch_similarity.wgsl
      let direction: GPUBuffer;
      if (vector) direction = burst.storageOf('similarity query', Float32Array.of(...vector, 0, 0, 0, 0));
      else {
        const count = chosen!.length / 2;
        const chunks = Math.ceil(count / PATCHES_AT_ONCE);
        const size = burst.uniformOf('similarity size', [0, count]);
        const all = burst.storage('similarity sums', chunks * record);
        const list = burst.storageOf('chosen patches', chosen!);
        direction = burst.storage('similarity query', record);
        burst.dispatch(sums!, [size, features.buffer, list, all], [chunks]);
        burst.dispatch(unit!, [size, all, direction], [1]);
      }
      return targets.map((target) => {
        const values = mapOf(burst, map!, target, againstBatchIndex, direction);
        task.keep(values);
        return values;
      });
    });
  });
  return buffers.map((buffer, i) => new GpuPatchMap(gpu, targets[i]!.rows, targets[i]!.cols, buffer));
}

function mapOf(
  burst: Burst,
  kernel: CompiledKernel,
  { rows, cols, numTokens, numRegisterTokens, buffer }: SimilarityFeatures,
  batchIndex: number,
  direction: GPUBuffer,
): GPUBuffer {
  const size = burst.uniformOf('similarity size', [
    batchIndex * numTokens + 1 + numRegisterTokens,
    rows * cols,
  ]);
  const values = burst.storage('patch map', rows * cols * F32_BYTES);
  burst.dispatch(kernel, [size, buffer, direction, values], [Math.ceil((rows * cols) / PATCHES_OF_MAP)]);
  return values;
}

/** The chosen patches of a query, for the kernel: pairs of a token and the bits of its weight. */
function chosenOf(
  { rows, cols, numTokens, numRegisterTokens }: SimilarityFeatures,
  batchIndex: number,
  {
    placement,
    query,
  }: {
    placement: SimilarityFeatures['placements'][number];
    query: Exclude<SimilarityQuery, ArrayLike<number>>;
  },
): Uint32Array<ArrayBuffer> {
  const weights = weightsOf('similarity', { rows, cols, placement }, query);
  const words = new Uint32Array(2 * weights.size);
  const floats = new Float32Array(words.buffer);
  const first = batchIndex * numTokens + 1 + numRegisterTokens;
  let at = 0;
  for (const [patch, weight] of weights) {
    words[at++] = first + patch;
    floats[at++] = weight;
  }
  return words;
}

function checkTarget(features: SimilarityFeatures, target: SimilarityFeatures, batchIndex: number): void {
  const where = 'similarity: against';
  if (target?.gpu === undefined) throw wrong(where, 'features, or an array of features', typeof target);
  if (target.embedDim !== features.embedDim)
    throw wrong(
      where,
      `features with ${features.embedDim} channels, as those of the query`,
      `${target.embedDim}`,
    );
  if (target.gpu.device !== features.gpu.device)
    throw wrong(where, 'features on the device of the query', 'features on another device');
  placementAt('similarity: against', target.placements, batchIndex);
}
