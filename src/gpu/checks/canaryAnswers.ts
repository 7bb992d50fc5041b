/**
 * Computes in float64, row by row, the values that kernels should give for the self-test's inputs, and the
 * largest error that f32 arithmetic may cause. For a wide output, only the columns of the first and the last
 * tile are computed.
 */
import { HEAD_DIM } from '../../graph/constants.js';
import type { Node } from '../../graph/graph.js';
import { matrixOf, matrixShape, type CanaryMatrix } from './canaryData.js';
import { PANEL_COLUMNS, type ForwardSize } from '../lowering.js';

/** The expected output of a kernel, for some columns of the output. */
export interface Answer {
  readonly columns: readonly number[];
  /**
   * Computes one row: the expected values, and the allowed absolute errors. Both arrays have one element for
   * each of `columns`.
   */
  readonly row: (row: number, values: Float64Array, allowed: Float64Array) => void;
}

/**
 * Allowed rounding error of a sum, as a fraction of the sum of the magnitudes of its terms. This bound
 * covers f32 rounding in any order of summation, with and without fused multiply-adds, and WGSL's less
 * accurate divisions and square roots.
 */
const ROUNDING = 16 * 2 ** -24;
/** Allowed relative error of WGSL's exp and exp2: 3 + 2 · |x| units in the last place. */
const expError = (x: number): number => (3 + 2 * Math.abs(x)) * 2 ** -23;

/**
 * Returns the indices of the first `width` columns and of the last `width` columns of a matrix with `count`
 * columns.
 */
const columnsAtEnds = (count: number, width: number): number[] =>
  Array.from({ length: count }, (_, i) => i).filter((column) => column < width || column >= count - width);

/**
 * Computes the expected output of a node (an operation of the forward pass).
 *
 * @param inputs values of the node's inputs at the input size `size`. The element for the weight matrix is
 *   undefined: its values are in `weights`
 * @param tileColumns width of the widest tile among the node's kernels
 */
export function answerOf(
  node: Node,
  size: ForwardSize,
  inputs: readonly (Float32Array | undefined)[],
  weights: CanaryMatrix,
  tileColumns: number,
): Answer {
  const { operation, output } = node;
  const width = output.shape[1]!;
  const tensors = inputs as readonly Float32Array[];
  const ends = columnsAtEnds(width, tileColumns);
  const all = columnsAtEnds(width, width);
  switch (operation.kind) {
    case 'patchEmbed': {
      const sums = products(
        node,
        weights,
        tensors[2]!,
        ends,
        patchLine(operation.patchSize, size, tensors[0]!),
      );
      return { columns: ends, row: sums };
    }
    case 'linear':
      return { columns: ends, row: products(node, weights, tensors[2]!, ends, rowLine(node, tensors[0]!)) };
    case 'linearGelu': {
      const sums = products(node, weights, tensors[2]!, ends, rowLine(node, tensors[0]!));
      return { columns: ends, row: gelu(sums) };
    }
    case 'linearSwiglu': {
      const both = [...ends, ...ends.map((column) => width + column)];
      const sums = products(node, weights, tensors[2]!, both, rowLine(node, tensors[0]!));
      return { columns: ends, row: swiglu(sums, ends.length) };
    }
    case 'linearScaleResidual': {
      const sums = products(node, weights, tensors[2]!, ends, rowLine(node, tensors[0]!));
      return { columns: ends, row: scaleResidual(sums, ends, width, tensors[3]!, tensors[4]!) };
    }
    case 'attention': {
      const columns = columnsAtEnds(width, HEAD_DIM);
      return { columns, row: attention(width, columns, size.numTokens, tensors[0]!) };
    }
    case 'layerNorm':
      return { columns: all, row: layerNorm(width, operation.eps, tensors[0]!, tensors[1]!, tensors[2]!) };
    case 'assembleTokens':
      return { columns: all, row: assembled(width, size, operation.numRegisterTokens, tensors) };
    case 'maskPatches': {
      const [patches, mask, token] = tensors as readonly [Float32Array, Float32Array, Float32Array];
      return {
        columns: all,
        row: (row, values, allowed) => {
          allowed.fill(0);
          values.set(mask[row] === 0 ? patches.subarray(row * width, (row + 1) * width) : token);
        },
      };
    }
  }
}

/** A function that computes one row of the left operand of a matrix product. */
type Line = (row: number) => Float32Array;

/**
 * Computes x · weightᵀ + bias at some columns. `columns` must consist of groups of four consecutive columns.
 */
function products(
  node: Node,
  weights: CanaryMatrix,
  bias: Float32Array,
  columns: readonly number[],
  lineOf: Line,
): Answer['row'] {
  const matrix = matrixOf(node)!;
  const [, inFeatures] = matrixShape(matrix);
  const { numbers } = weights;
  const groups = columns
    .filter((_, i) => i % 4 === 0)
    .map((column) => ({ column, first: weights.indexOf(matrix, column) }));
  const factors = new Float64Array(inFeatures);
  const offsets = new Int32Array(inFeatures);
  return (row, values, allowed) => {
    const line = lineOf(row);
    let count = 0; // number of nonzero values in `line`
    for (let k = 0; k < inFeatures; k++) {
      if (line[k] === 0) continue;
      factors[count] = line[k]!;
      offsets[count] = (k * PANEL_COLUMNS) % numbers.length;
      count += 1;
    }
    groups.forEach(({ column, first }, group) => {
      let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0];
      let [magnitude0, magnitude1, magnitude2, magnitude3] = [0, 0, 0, 0];
      for (let i = 0; i < count; i++) {
        const at = first + offsets[i]!;
        const from = at < numbers.length ? at : at - numbers.length;
        const factor = factors[i]!;
        const product0 = factor * numbers[from]!;
        const product1 = factor * numbers[from + 1]!;
        const product2 = factor * numbers[from + 2]!;
        const product3 = factor * numbers[from + 3]!;
        sum0 += product0;
        sum1 += product1;
        sum2 += product2;
        sum3 += product3;
        magnitude0 += Math.abs(product0);
        magnitude1 += Math.abs(product1);
        magnitude2 += Math.abs(product2);
        magnitude3 += Math.abs(product3);
      }
      const sums = [sum0, sum1, sum2, sum3];
      const magnitudes = [magnitude0, magnitude1, magnitude2, magnitude3];
      for (let i = 0; i < 4; i++) {
        const scale = weights.scaleOf(column + i);
        const added = bias[column + i]!;
        values[4 * group + i] = scale * sums[i]! + added;
        allowed[4 * group + i] = ROUNDING * (scale * magnitudes[i]! + Math.abs(added));
      }
    });
  };
}

function rowLine(node: Node, x: Float32Array): Line {
  const [, inFeatures] = matrixShape(matrixOf(node)!);
  return (row) => x.subarray(row * inFeatures, (row + 1) * inFeatures);
}

/** Makes a function that returns a patch's pixels in the order (3, patchSize, patchSize). */
function patchLine(patchSize: number, { rows, cols }: ForwardSize, pixels: Float32Array): Line {
  const line = new Float32Array(3 * patchSize * patchSize);
  return (patch) => {
    const within = patch % (rows * cols);
    const firstRow = Math.floor(within / cols) * patchSize;
    const firstCol = (within % cols) * patchSize;
    for (let channel = 0; channel < 3; channel++)
      for (let y = 0; y < patchSize; y++) {
        const plane = 3 * Math.floor(patch / (rows * cols)) + channel;
        const from = (plane * rows * patchSize + firstRow + y) * cols * patchSize + firstCol;
        line.set(pixels.subarray(from, from + patchSize), (channel * patchSize + y) * patchSize);
      }
    return line;
  };
}

function scaleResidual(
  sums: Answer['row'],
  columns: readonly number[],
  width: number,
  gamma: Float32Array,
  residual: Float32Array,
): Answer['row'] {
  return (row, values, allowed) => {
    sums(row, values, allowed);
    columns.forEach((column, i) => {
      const [factor, added] = [gamma[column]!, residual[row * width + column]!];
      const scaled = factor * values[i]!;
      values[i] = scaled + added;
      allowed[i] = Math.abs(factor) * allowed[i]! + ROUNDING * (Math.abs(scaled) + Math.abs(added));
    });
  };
}

/**
 * Computes gelu of the values that the function `sums` computes. The slope of gelu is at most 1.13, so twice
 * the error of the argument also covers the error of gelu itself.
 */
function gelu(sums: Answer['row']): Answer['row'] {
  return (row, values, allowed) => {
    sums(row, values, allowed);
    for (let i = 0; i < values.length; i++) {
      const x = values[i]!;
      values[i] = (x / 2) * (1 + erf(x / Math.SQRT2));
      allowed[i]! *= 2;
    }
  };
}

/**
 * Computes the error function, erf(x), with an error of at most 1e-15, as the series 2/√π · exp(-x²) · Σ 2ⁿ
 * x²ⁿ⁺¹ / (2n + 1)!!, whose terms all have the same sign (Abramowitz and Stegun 7.1.6).
 */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/**
 * Computes silu(gate) · up. The function `sums` computes a row of `count` gates, followed by `count` values
 * of `up`.
 */
function swiglu(sums: Answer['row'], count: number): Answer['row'] {
  const both = new Float64Array(2 * count);
  const errors = new Float64Array(2 * count);
  return (row, values, allowed) => {
    sums(row, both, errors);
    for (let i = 0; i < count; i++) {
      const [gate, up] = [both[i]!, both[count + i]!];
      const sigmoid = 1 / (1 + Math.exp(-gate));
      const silu = gate * sigmoid;
      values[i] = silu * up;
      // The slope of silu is at most 1.1.
      const siluError = 1.1 * errors[i]! + Math.abs(silu) * ((1 - sigmoid) * expError(gate) + ROUNDING);
      allowed[i] =
        Math.abs(up) * siluError + Math.abs(silu) * errors[count + i]! + ROUNDING * Math.abs(values[i]!);
    }
  };
}

function attention(
  width: number,
  columns: readonly number[],
  numTokens: number,
  qkv: Float32Array,
): Answer['row'] {
  const heads = columns.filter((column) => column % HEAD_DIM === 0);
  return (row, values, allowed) => {
    const firstToken = (row - (row % numTokens)) * 3 * width;
    heads.forEach((head, index) => {
      const [from, to] = [index * HEAD_DIM, (index + 1) * HEAD_DIM];
      const keys = firstToken + width + head;
      const query = qkv.subarray(row * 3 * width + head);
      attend(
        query,
        qkv.subarray(keys),
        qkv.subarray(keys + width),
        3 * width,
        numTokens,
        values.subarray(from, to),
        allowed.subarray(from, to),
      );
    });
  };
}

/**
 * Computes attention for one query in one head. The keys of consecutive tokens are `stride` elements apart,
 * and the values of consecutive tokens are also `stride` elements apart.
 */
function attend(
  query: Float32Array,
  keys: Float32Array,
  tokenValues: Float32Array,
  stride: number,
  numTokens: number,
  values: Float64Array,
  allowed: Float64Array,
): void {
  const weights = new Float64Array(numTokens);
  const errors = new Float64Array(numTokens);
  let maximum = -Infinity;
  for (let token = 0; token < numTokens; token++) {
    let [score, magnitude] = [0, 0];
    for (let d = 0; d < HEAD_DIM; d++) {
      const product = (query[d]! * keys[token * stride + d]!) / 8;
      score += product;
      magnitude += Math.abs(product);
    }
    weights[token] = score;
    errors[token] = ROUNDING * magnitude;
    maximum = Math.max(maximum, score);
  }
  let total = 0;
  for (let token = 0; token < numTokens; token++) {
    const distance = weights[token]! - maximum;
    errors[token]! += expError(distance * Math.LOG2E);
    weights[token] = Math.exp(distance);
    total += weights[token]!;
  }
  values.fill(0);
  allowed.fill(0);
  for (let token = 0; token < numTokens; token++) {
    const weight = weights[token]! / total;
    for (let d = 0; d < HEAD_DIM; d++) {
      const value = weight * tokenValues[token * stride + d]!;
      values[d]! += value;
      allowed[d]! += ROUNDING * Math.abs(value);
    }
  }
  // An error in the softmax weight of a token moves the result towards that token's value.
  for (let token = 0; token < numTokens; token++) {
    const error = (1.1 * errors[token]! * weights[token]!) / total;
    for (let d = 0; d < HEAD_DIM; d++)
      allowed[d]! += error * Math.abs(tokenValues[token * stride + d]! - values[d]!);
  }
}

function layerNorm(
  width: number,
  eps: number,
  x: Float32Array,
  weight: Float32Array,
  bias: Float32Array,
): Answer['row'] {
  return (row, values, allowed) => {
    const line = x.subarray(row * width, (row + 1) * width);
    let [mean, magnitude, variance] = [0, 0, 0];
    for (const value of line) {
      mean += value / width;
      magnitude += Math.abs(value) / width;
    }
    for (const value of line) variance += (value - mean) ** 2 / width;
    const scale = 1 / Math.sqrt(variance + eps);
    const meanError = ROUNDING * magnitude;
    const relative = ROUNDING + meanError ** 2 / variance;
    for (let i = 0; i < width; i++) {
      const normed = (line[i]! - mean) * scale;
      values[i] = normed * weight[i]! + bias[i]!;
      allowed[i] =
        Math.abs(weight[i]!) * (scale * meanError + 2 * relative * Math.abs(normed)) +
        ROUNDING * Math.abs(bias[i]!);
    }
  };
}

function assembled(
  width: number,
  { rows, cols, numTokens }: ForwardSize,
  numRegisterTokens: number,
  [patches, cls, positions, registers]: readonly Float32Array[],
): Answer['row'] {
  return (row, values, allowed) => {
    const [image, token] = [Math.floor(row / numTokens), row % numTokens];
    const patch = token - numRegisterTokens - 1;
    for (let i = 0; i < width; i++) {
      if (token > 0 && patch < 0) {
        values[i] = registers![(token - 1) * width + i]!;
        allowed[i] = 0;
        continue;
      }
      const content = token === 0 ? cls![i]! : patches![(image * rows * cols + patch) * width + i]!;
      const position = positions![(token === 0 ? 0 : patch + 1) * width + i]!;
      values[i] = content + position;
      allowed[i] = ROUNDING * (Math.abs(content) + Math.abs(position));
    }
  };
}
