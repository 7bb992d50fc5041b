/**
 * Provides the inputs of the self-test, computed by formula, and one weight matrix that all layers share. A
 * few input values are beyond the range of f16, so that a kernel fails the test if it uses f16 for anything
 * except stored weights.
 */
import { HEAD_DIM } from '../../graph/constants.js';
import { elementCount, type Node, type Value } from '../../graph/graph.js';
import type { WeightStorage } from '../kernels/kernel.js';
import { PANEL_COLUMNS, PANEL_K, paddedK, type ForwardSize, type Target } from '../lowering.js';
import type { Bound, Burst } from '../task.js';

/** An input value that is larger than 65,504, the largest f16 number. */
const HUGE = 1e5;
/** Index of the row of an input that contains the value `HUGE`. */
const HUGE_ROW = 5;
/** Index of the row (token) in the qkv matrix whose query has large attention scores. */
const HUGE_QUERY_ROW = 33;

/** The test's input size for operations on patches: two images of 3 × 5 patches each. */
const PATCHES = { batch: 2, rows: 3, cols: 5 } as const;

/**
 * Returns an input size of two images with `numTokens` tokens each, for operations that do not read the
 * number of patches.
 */
const tokensEach = (numTokens: number): ForwardSize => ({ batch: 2, rows: 1, cols: 1, numTokens });

/**
 * Returns the input sizes at which a node is tested. The first size is the largest. At each other size, the
 * inputs are the first rows of the inputs at the largest size.
 *
 * Tiled linear layers are tested with 70 rows (full tiles of 64 or 32 rows, and a tail of 6 rows that is
 * summed without a tile) and with 12 rows (a partial tile). The tall tile of 128 rows adds 134 rows. The linear layers for software adapters have no
 * tail: they are tested with 22 rows, which are full groups of 16 or 8 rows and a partial group. Attention is
 * tested with 70 keys: a full tile of 64 keys and a partial tile.
 */
export function sizesOf(
  { operation }: Node,
  { software, wantedLanesTall, f16 }: Target,
): readonly [ForwardSize, ...ForwardSize[]] {
  switch (operation.kind) {
    case 'patchEmbed':
    case 'maskPatches':
      return [{ ...PATCHES, numTokens: 1 + PATCHES.rows * PATCHES.cols }];
    case 'assembleTokens':
      return [{ ...PATCHES, numTokens: 1 + operation.numRegisterTokens + PATCHES.rows * PATCHES.cols }];
    case 'attention':
      return [tokensEach(35 * 2)];
    case 'layerNorm':
      return [tokensEach(11)];
    default:
      if (software) return [tokensEach(11)];
      return wantedLanesTall === undefined || f16
        ? [tokensEach(35), tokensEach(6)]
        : [tokensEach(67), tokensEach(35), tokensEach(6)];
  }
}

/** Returns the number of rows of a node's output. */
export const rowsOf = ({ operation }: Node, { batch, rows, cols, numTokens }: ForwardSize): number =>
  batch * (operation.kind === 'patchEmbed' || operation.kind === 'maskPatches' ? rows * cols : numTokens);

/**
 * Length of the array of random numbers from which all inputs are taken. The length is prime, so that no two
 * rows of an input are equal.
 */
const POOL_LENGTH = 65_521;
let pool: Float32Array | undefined;

/**
 * Fills an array with pseudo-random numbers from -range to range, the same in each run (the linear
 * congruential generator from Numerical Recipes).
 */
function fillRandom<T extends Float32Array | Int8Array>(values: T, range: number): T {
  let state = 1;
  for (let i = 0; i < values.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = range * ((state >>> 8) * 2 ** -23 - 1); // the upper 24 bits; an Int8Array rounds towards zero
  }
  return values;
}

/**
 * Returns pseudo-random numbers in [-1, 1), which are the same in each run. `seed` selects the start position
 * in the pool.
 */
function uniform(count: number, seed: number): Float32Array<ArrayBuffer> {
  pool ??= fillRandom(new Float32Array(POOL_LENGTH), 1);
  const values = new Float32Array(count);
  let from = (seed * 9_973) % POOL_LENGTH;
  for (let at = 0; at < count; from = 0) {
    const part = pool.subarray(from, from + count - at);
    values.set(part, at);
    at += part.length;
  }
  return values;
}

/**
 * Returns the inputs of a node at its largest input size, in the order of `node.inputs`. The element for a
 * weight matrix is `undefined`; `CanaryMatrix` provides its weights. Layers of the same width get the same
 * numbers.
 */
export function inputsOf(node: Node, size: ForwardSize): (Float32Array<ArrayBuffer> | undefined)[] {
  const { operation, inputs, output } = node;
  const rows = rowsOf(node, size);
  const columns = output.shape[1]!;
  switch (operation.kind) {
    case 'patchEmbed': {
      // Most pixels are zero, so that float64 sums are quick. For each position within a patch, some patch
      // has a nonzero pixel.
      const pixels = uniform(3 * rows * operation.patchSize ** 2, 1);
      for (let i = 0; i < pixels.length; i++) if (i % 11 !== 0) pixels[i] = 0;
      pixels[pixels.length - 1] = HUGE;
      return [pixels, undefined, uniform(columns, 2)];
    }
    case 'maskPatches': {
      const mask = Uint32Array.from({ length: rows }, (_, i) => (i % 3 === 1 ? 1 : 0));
      return [uniform(rows * columns, 3), new Float32Array(mask.buffer), uniform(columns, 4)];
    }
    case 'assembleTokens':
      return [
        uniform(size.batch * size.rows * size.cols * columns, 3),
        uniform(columns, 4),
        uniform((1 + size.rows * size.cols) * columns, 5),
        ...(operation.numRegisterTokens > 0 ? [uniform(operation.numRegisterTokens * columns, 6)] : []),
      ];
    case 'layerNorm': {
      const x = uniform(rows * columns, 7);
      // The huge value is near the end of the row, so that only few values are added to a huge sum. Rounding
      // of a huge sum is coarse.
      x[HUGE_ROW * columns + columns - 9] = HUGE;
      // The last row has a large mean: a variance computed as E[x²] - E[x]² would lose its digits.
      for (let i = (rows - 1) * columns; i < rows * columns; i++) x[i]! += 1000;
      return [x, uniform(columns, 8), uniform(columns, 9)];
    }
    case 'attention': {
      const qkv = uniform(rows * 3 * columns, 10);
      for (const head of [0, columns - HEAD_DIM]) {
        // This query gets large attention scores, so that one key dominates its softmax.
        for (let d = 0; d < HEAD_DIM; d++) qkv[HUGE_QUERY_ROW * 3 * columns + head + d]! *= 300;
        qkv[(rows - 1) * 3 * columns + 2 * columns + head + 5] = HUGE; // in the last token's value vector
      }
      return [qkv];
    }
    default: {
      const outFeatures = inputs[1]!.shape[0]!;
      const x = productRows(rows, inputs[1]!.shape[1]!);
      const bias = uniform(outFeatures, 11);
      return operation.kind === 'linearScaleResidual'
        ? [x, undefined, bias, uniform(columns, 12), uniform(rows * columns, 13)]
        : [x, undefined, bias];
    }
  }
}

/**
 * Makes the left operand of the matrix product with which a layer is tested. The float64 sums are quick,
 * because most values are zero. Three kinds of rows:
 * - most rows have one nonzero value at each position within a block of `PANEL_K` input features. These
 *   values are spread over the blocks;
 * - every fourth row has a single nonzero value of magnitude at most 6. Its error bound is tight enough to
 *   reveal small errors, including errors of gelu and silu;
 * - every sixteenth row has no zeros.
 */
function productRows(rows: number, inFeatures: number): Float32Array<ArrayBuffer> {
  const x = uniform(rows * inFeatures, 14);
  const numBlocks = Math.ceil(inFeatures / PANEL_K);
  for (let row = 0; row < rows; row++) {
    if (row % 16 === 1) continue;
    const line = x.subarray(row * inFeatures, (row + 1) * inFeatures);
    const numbers = line.slice();
    line.fill(0);
    if (row === HUGE_ROW) {
      line[2] = 0.5;
      line[inFeatures - 3] = HUGE;
    } else if (row % 4 === 0) {
      const alone = row % 8 === 0 ? row % inFeatures : inFeatures - 1 - (row % inFeatures);
      line[alone] = 6 * numbers[alone]!;
    } else {
      for (let i = 0; i < PANEL_K; i++) {
        const k = ((row * 5 + i * 3) % numBlocks) * PANEL_K + i;
        if (k < inFeatures) line[k] = numbers[k]!;
      }
    }
  }
  x[rows * inFeatures - 1] = -700;
  return x;
}

/** Returns the weight matrix of a node that computes a matrix product. Returns undefined for other nodes. */
export const matrixOf = ({ operation, inputs }: Node): Value | undefined =>
  operation.kind === 'patchEmbed' || operation.kind.startsWith('linear') ? inputs[1] : undefined;

/**
 * Returns the numbers of rows and columns of a weight matrix. The weight of a convolution is flattened to a
 * matrix.
 */
export const matrixShape = ({ shape }: Value): readonly [outFeatures: number, inFeatures: number] => [
  shape[0]!,
  elementCount(shape) / shape[0]!,
];

/**
 * Length of the repeated pattern of weights. The length is four times a prime, so that panels and rows, whose
 * lengths are multiples of 32, do not all begin with the same numbers.
 */
const PATTERN_LENGTH = 4 * 16_381;
let pattern: Int8Array<ArrayBuffer> | undefined;

const elementsOf = (matrix: Value): number => {
  const [outFeatures, inFeatures] = matrixShape(matrix);
  return Math.ceil(outFeatures / PANEL_COLUMNS) * PANEL_COLUMNS * paddedK(inFeatures);
};

const scaleBytesOf = (matrix: Value): number =>
  4 * PANEL_COLUMNS * Math.ceil(matrix.shape[0]! / PANEL_COLUMNS);

/**
 * One packed weight matrix (see `weights/packing.ts`) that all layers share. It is as large as the matrix of
 * the largest layer; a smaller layer uses the last part of it. The weights are n / 128, where n is a
 * repeated pattern of integers from -127 to 127. Every weight storage represents these numbers exactly. For
 * int8, n is stored, followed by a scale for each column. The scales are powers of two, so that the products
 * are exact.
 */
export class CanaryMatrix {
  /** The repeated pattern of integers n. A weight is n / 128, or for int8 n times the scale of its column. */
  readonly numbers: Int8Array;
  readonly #storage: WeightStorage;
  readonly #elements: number;
  readonly #scaleBytes: number;

  constructor(matrices: readonly Value[], storage: WeightStorage) {
    pattern ??= fillRandom(new Int8Array(PATTERN_LENGTH), 127.99);
    this.numbers = pattern;
    this.#storage = storage;
    this.#elements = Math.max(0, ...matrices.map(elementsOf));
    this.#scaleBytes = storage === 'int8' ? Math.max(0, ...matrices.map(scaleBytesOf)) : 0;
  }

  /**
   * Index in `numbers` of the first weight of a column. The weight for the next input feature is 64 elements
   * further. After the end of `numbers`, the pattern repeats.
   */
  indexOf(matrix: Value, column: number): number {
    const [, inFeatures] = matrixShape(matrix);
    const panel = Math.floor(column / PANEL_COLUMNS) * PANEL_COLUMNS * paddedK(inFeatures);
    return (this.#elements - elementsOf(matrix) + panel + (column % PANEL_COLUMNS)) % PATTERN_LENGTH;
  }

  /** Returns the factor by which the integers of a column are multiplied to give the column's weights. */
  scaleOf(column: number): number {
    return this.#storage === 'int8' ? 2 ** (2 * (column % 3) - 9) : 1 / 128;
  }

  /**
   * Uploads the matrix. Returns a function that maps a layer's matrix to the part of the buffer to bind for
   * it.
   */
  upload(burst: Burst): (matrix: Value) => Bound {
    const packed = packPattern(this.numbers, this.#storage);
    const bytes = packed.byteLength / PATTERN_LENGTH;
    const total = this.#elements * bytes;
    const source = burst.storageOf('self-test pattern', packed);
    const buffer = burst.storage('self-test matrix', total + this.#scaleBytes);
    for (let at = 0; at < total; at += packed.byteLength)
      burst.copy(source, 0, buffer, at, Math.min(packed.byteLength, total - at));
    if (this.#scaleBytes > 0) {
      const scales = Float32Array.from({ length: this.#scaleBytes / 4 }, (_, i) => this.scaleOf(i));
      burst.copy(burst.storageOf('self-test scales', scales), 0, buffer, total, this.#scaleBytes);
    }
    return (matrix) => {
      const size = elementsOf(matrix) * bytes;
      const scales = this.#scaleBytes > 0 ? scaleBytesOf(matrix) : 0;
      return { buffer, offset: total - size, size: size + scales };
    };
  }
}

function packPattern(
  numbers: Int8Array,
  storage: WeightStorage,
): Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> {
  if (storage === 'int8') return new Uint32Array(Int8Array.from(numbers).buffer);
  const packed = storage === 'f32' ? new Float32Array(numbers.length) : new Uint16Array(numbers.length);
  for (let i = 0; i < numbers.length; i++)
    packed[i] = storage === 'f32' ? numbers[i]! / 128 : halfOf128th(numbers[i]!);
  return packed instanceof Float32Array ? packed : new Uint32Array(packed.buffer);
}

/** Returns the bits of n / 128 as f16, for n from -127 to 127. */
function halfOf128th(n: number): number {
  if (n === 0) return 0;
  const exponent = 31 - Math.clz32(Math.abs(n));
  return (
    (n < 0 ? 0x8000 : 0) | ((exponent - 7 + 15) << 10) | ((Math.abs(n) - 2 ** exponent) << (10 - exponent))
  );
}
