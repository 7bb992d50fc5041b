/**
 * Finds, for each patch of two images, the most similar patch of the other image, on the GPU. The cosines of
 * all pairs are the product of two matrices, which the kernel of the model's linear layers computes block by
 * block. After each block, the best match of each patch so far is updated. So the matrix of all cosines is
 * never stored.
 */
import { DeviceError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import * as kernels from '../gpu/kernels/correspondenceKernels.js';
import { PANEL_COLUMNS, sizeWords, type Dispatch } from '../gpu/lowering.js';
import type { CompiledKernel } from '../gpu/pipelines.js';
import { splitByWork, SUBMIT_MS } from '../gpu/submits.js';
import type { Burst, Task } from '../gpu/task.js';
import { F32_BYTES } from '../graph/constants.js';
import { GraphBuilder } from '../graph/graph.js';
import { loadPart } from '../platform/part.js';
import { consistencyFault, sampleFault } from './nearestCheck.js';
import type { PatchFeatures } from './patchMatrix.js';

/** One image of a batch of features. */
export interface PatchImage {
  readonly features: PatchFeatures;
  /** Index of the image in the batch. */
  readonly batchIndex: number;
}

/** The most similar patch of the other image, for each patch of an image. */
export interface Nearest {
  /** Index of the most similar patch, in reading order: (rows · cols). */
  readonly patches: Uint32Array<ArrayBuffer>;
  /** Cosine similarity with that patch: (rows · cols). */
  readonly scores: Float32Array<ArrayBuffer>;
  /** Index of the first patch of this image that contains NaN or infinity. Undefined if all are finite. */
  readonly notFinite: number | undefined;
}

/** Patches are multiplied in tiles of 64 × 64, the panels of the linear layers. */
const TILE = PANEL_COLUMNS;
/** Largest size in bytes of a block of scores. */
const BLOCK_BYTES = 32 * 2 ** 20;
/** Number of parts into which the kernels split a row or a column of a block. */
const PARTS = 16;
/** Lanes in a workgroup of the kernels of this file. */
const LANES = 64;
/** Bytes of a match: a score and an index. */
const MATCH_BYTES = 8;
/** Initial score of every patch: below any cosine. */
const LOWEST = -2;

/** A block of the matrix of cosines: some patches of a (rows) and some patches of b (columns). */
interface Block {
  readonly firstRow: number;
  readonly rows: number;
  readonly firstCol: number;
  readonly cols: number;
  readonly flops: number;
}

/**
 * Splits the matrix into blocks of at most `most` FLOPs, or of one tile. The blocks of one column are in
 * ascending order of rows, and the columns are in ascending order.
 */
function* blocksOf(countA: number, countB: number, embedDim: number, most: number): Generator<Block> {
  const width = scoreColumns(embedDim);
  const tiles = Math.max(1, Math.floor(most / (2 * TILE * TILE * embedDim)));
  const across = Math.min(width / TILE, Math.ceil(countB / TILE), tiles);
  const down = Math.min(Math.floor(tiles / across), Math.floor(BLOCK_BYTES / (width * TILE * F32_BYTES)));
  for (let firstCol = 0; firstCol < countB; firstCol += across * TILE) {
    const cols = Math.min(across * TILE, countB - firstCol);
    for (let firstRow = 0; firstRow < countA; firstRow += down * TILE) {
      const rows = Math.min(down * TILE, countA - firstRow);
      yield { firstRow, rows, firstCol, cols, flops: 2 * rows * cols * embedDim };
    }
  }
}

/**
 * Columns of the largest block. This is the number of output features of a model's first linear layer, which
 * computes queries, keys and values. So a model with f32 weights has compiled and tested this kernel already.
 */
const scoreColumns = (embedDim: number): number => 3 * embedDim;

const patchesOf = ({ features }: PatchImage): number => features.rows * features.cols;

/** Returns the row of `features.buffer` that holds the first patch of an image. */
const firstPatch = ({ features, batchIndex }: PatchImage): number =>
  batchIndex * features.numTokens + 1 + features.numRegisterTokens;

/**
 * Finds the most similar patch of `b` for each patch of `a`, and of `a` for each patch of `b`. Among equally
 * similar patches, the first in reading order is returned. Both images must be on one device, and have the
 * same `embedDim`.
 * @throws DeviceError KERNEL_WRONG if the GPU's result is wrong, as far as `nearestCheck.ts` can tell; other
 *   DeviceErrors; the signal's reason
 */
export async function nearestPatches(
  a: PatchImage,
  b: PatchImage,
  signal: AbortSignal | undefined,
): Promise<readonly [ofA: Nearest, ofB: Nearest]> {
  const { gpu } = a.features;
  const finder = await NearestFinder.create(gpu, a, b);
  return gpu.task('correspondences', signal, async (task) => {
    task.use(...[a, b].flatMap(({ features }) => features.lease ?? []));
    return finder.run(task);
  });
}

/** The values of `embedDim` for which a result of a device was compared with float64. */
const checkedDims = new WeakMap<Gpu, Set<number>>();

interface Kernels {
  readonly directions: CompiledKernel;
  readonly product: CompiledKernel;
  readonly inRows: CompiledKernel;
  readonly inColumns: CompiledKernel;
  readonly merge: CompiledKernel;
}

interface Buffers {
  readonly directionsA: GPUBuffer;
  readonly panelsB: GPUBuffer;
  readonly zeros: GPUBuffer;
  readonly scores: GPUBuffer;
  readonly partials: GPUBuffer;
  readonly nearestA: GPUBuffer;
  readonly nearestB: GPUBuffer;
  readonly notFinite: GPUBuffer;
}

class NearestFinder {
  readonly #gpu: Gpu;
  readonly #a: PatchImage;
  readonly #b: PatchImage;
  readonly #kernels: Kernels;
  readonly #dispatch: Dispatch;

  private constructor(gpu: Gpu, a: PatchImage, b: PatchImage, compiled: Kernels, dispatch: Dispatch) {
    this.#gpu = gpu;
    this.#a = a;
    this.#b = b;
    this.#kernels = compiled;
    this.#dispatch = dispatch;
  }

  static async create(gpu: Gpu, a: PatchImage, b: PatchImage): Promise<NearestFinder> {
    const { embedDim } = a.features;
    const width = scoreColumns(embedDim);
    const graph = new GraphBuilder();
    const product = graph.linear(
      'cosines',
      graph.input('directions of a', [patchesOf(a), embedDim]),
      graph.weight('directions of b', [width, embedDim]),
      graph.weight('zeros', [width]),
    );
    const [node] = graph.build([product]).nodes;
    // One kernel for every number of patches, so that a new image size compiles nothing.
    const testing = loadPart(import('../weights/testedDispatch.js')).then(({ testedDispatch }) =>
      testedDispatch(gpu, node!, 'f32'),
    );
    const compile = (kernel: (typeof kernels)[keyof typeof kernels]): Promise<CompiledKernel> =>
      gpu.pipelines.compile({ kernel, constants: { EMBED_DIM: embedDim, COLUMNS: width, PARTS } });
    const [dispatch, directions, inRows, inColumns, merge] = await Promise.all([
      testing,
      compile(kernels.patchDirections),
      compile(kernels.nearestInRows),
      compile(kernels.nearestInColumns),
      compile(kernels.nearestMerge),
    ]);
    const multiply = await gpu.pipelines.compile(dispatch.variant); // the self-test has compiled it
    return new NearestFinder(
      gpu,
      a,
      b,
      { directions, product: multiply, inRows, inColumns, merge },
      dispatch,
    );
  }

  async run(task: Task): Promise<readonly [Nearest, Nearest]> {
    const [countA, countB] = [patchesOf(this.#a), patchesOf(this.#b)];
    const most = this.#gpu.flopsPerSecond * (SUBMIT_MS / 1000);
    const blocks = [...blocksOf(countA, countB, this.#a.features.embedDim, most)];
    const buffers = task.burst((burst) => this.#prepare(burst, blocks));
    const submits = splitByWork(blocks, most);
    let previous: Promise<void> | undefined;
    for (const [index, { begin, end }] of submits.entries()) {
      task.burst((burst) => {
        for (const block of blocks.slice(begin, end)) this.#encode(burst, block, buffers);
      });
      if (index === submits.length - 1) break; // the reads wait for the last submit
      // Two submits are queued at a time, so that the GPU does not wait for the page.
      const done = task.computed(true);
      done.catch(() => undefined); // if a later burst throws, nothing awaits `done`
      await previous;
      previous = done;
    }
    await previous;
    const { embedDim } = this.#a.features;
    const checked = checkedDims.get(this.#gpu) ?? new Set();
    checkedDims.set(this.#gpu, checked);
    const images = checked.has(embedDim) ? [] : [this.#a, this.#b];
    const [matchesA, matchesB, flags, ...tokens] = await Promise.all([
      task.read(buffers.nearestA, 0, countA * MATCH_BYTES),
      task.read(buffers.nearestB, 0, countB * MATCH_BYTES),
      task.read(buffers.notFinite, 0, (countA + countB) * F32_BYTES),
      ...images.map((image) => {
        const bytes = embedDim * F32_BYTES;
        return task.read(image.features.buffer, firstPatch(image) * bytes, patchesOf(image) * bytes);
      }),
    ]);
    const ofA = nearestOf(matchesA, new Uint32Array(flags, 0, countA));
    const ofB = nearestOf(matchesB, new Uint32Array(flags, countA * F32_BYTES, countB));
    if (ofA.notFinite !== undefined || ofB.notFinite !== undefined) return [ofA, ofB];
    const [tokensA, tokensB] = tokens.map((bytes) => new Float32Array(bytes));
    const fault =
      consistencyFault(ofA, ofB, embedDim) ??
      (tokensA && tokensB && (await sampleFault(ofA, ofB, tokensA, tokensB, embedDim, task.signal)));
    if (fault !== undefined)
      throw new DeviceError(
        'KERNEL_WRONG',
        `correspondences on ${this.#gpu.pipelines.adapter}: ${fault}. This GPU or its driver computes wrong numbers. Update the browser and the graphics driver. If the error persists, please report it with the name of your GPU.`,
      );
    checked.add(embedDim);
    return [ofA, ofB];
  }

  /** Allocates all buffers, and encodes the kernels that scale the patch tokens of both images. */
  #prepare(burst: Burst, blocks: readonly Block[]): Buffers {
    const { embedDim } = this.#a.features;
    const [countA, countB] = [patchesOf(this.#a), patchesOf(this.#b)];
    const width = scoreColumns(embedDim);
    const rows = Math.max(...blocks.map((block) => block.rows));
    const buffers: Buffers = {
      directionsA: burst.storage('directions of a', countA * embedDim * F32_BYTES),
      panelsB: burst.storage('directions of b', Math.ceil(countB / TILE) * TILE * embedDim * F32_BYTES),
      zeros: burst.storage('zeros', width * F32_BYTES),
      scores: burst.storage('cosines', rows * width * F32_BYTES),
      partials: burst.storage('nearest in parts', PARTS * Math.max(rows, width) * MATCH_BYTES),
      nearestA: burst.storageOf('nearest of a', unmatched(countA)),
      nearestB: burst.storageOf('nearest of b', unmatched(countB)),
      notFinite: burst.storage('not finite', (countA + countB) * F32_BYTES),
    };
    for (const [image, count, panels, directions, firstFlag] of [
      [this.#a, countA, 0, buffers.directionsA, 0],
      [this.#b, countB, 1, buffers.panelsB, countA],
    ] as const) {
      const size = burst.uniformOf('directions size', [firstPatch(image), count, panels, firstFlag]);
      const bound = [size, image.features.buffer, directions, buffers.notFinite];
      burst.dispatch(this.#kernels.directions, bound, [Math.ceil(count / LANES)]);
    }
    return buffers;
  }

  /** Encodes one block: its cosines, and the update of the best matches. */
  #encode(burst: Burst, { firstRow, rows, firstCol, cols }: Block, buffers: Buffers): void {
    const { embedDim } = this.#a.features;
    const { product, inRows, inColumns, merge } = this.#kernels;
    const { scores, partials, nearestA, nearestB } = buffers;
    const part = (buffer: GPUBuffer, first: number): GPUBufferBinding => ({
      buffer,
      offset: first * embedDim * F32_BYTES,
    });
    // The linear layer computes only the columns of this block.
    const forward = { batch: 1, rows: 1, cols: rows, numTokens: rows };
    const [tilesAcross, tilesDown] = this.#dispatch.workgroups(forward);
    const tileColumns = scoreColumns(embedDim) / tilesAcross;
    burst.dispatch(
      product,
      [
        burst.uniformOf('cosines size', sizeWords(forward)),
        part(buffers.directionsA, firstRow),
        part(buffers.panelsB, firstCol),
        buffers.zeros,
        scores,
      ],
      [Math.ceil(cols / tileColumns), tilesDown],
    );
    const size = burst.uniformOf('nearest size', [rows, cols, firstRow, firstCol]);
    for (const [kernel, lanes, count, first, nearest] of [
      [inRows, rows, rows, firstRow, nearestA],
      [inColumns, Math.ceil(cols / 4), cols, firstCol, nearestB],
    ] as const) {
      burst.dispatch(kernel, [size, scores, partials], [Math.ceil(lanes / LANES), PARTS]);
      const mergeSize = burst.uniformOf('merge size', [count, first]);
      burst.dispatch(merge, [mergeSize, partials, nearest], [Math.ceil(count / LANES)]);
    }
  }
}

/** Returns matches with the lowest score for `count` patches, as words for the GPU. */
function unmatched(count: number): Float32Array<ArrayBuffer> {
  const matches = new Float32Array(2 * count);
  for (let i = 0; i < count; i++) matches[2 * i] = LOWEST;
  return matches;
}

function nearestOf(matches: ArrayBuffer, flags: Uint32Array): Nearest {
  const [scores, indices] = [new Float32Array(matches), new Uint32Array(matches)];
  const notFinite = flags.indexOf(1);
  return {
    patches: Uint32Array.from(flags, (_, i) => indices[2 * i + 1]!),
    scores: Float32Array.from(flags, (_, i) => scores[2 * i]!),
    notFinite: notFinite < 0 ? undefined : notFinite,
  };
}
