/**
 * Small inputs for every kernel of the forward and what f64 makes of them, for `selfTest.ts`. Sizes fill no
 * tile; a few values are huge, so that f16 anywhere but in the storage of weights shows. Weights are n / 128,
 * which all ways to store them hold exactly: the answers are the same for all.
 */
import { GraphBuilder, type Node, type Value } from '../graph/graph.js';
import type { ForwardSize } from './lowering.js';

/** What a kernel should give, and how far from it f32 may be. */
export interface Answer {
  readonly values: Float64Array;
  readonly allowed: Float64Array;
}

export interface Canary {
  readonly node: Node;
  /** The node's inputs, in its order. */
  readonly inputs: readonly Float32Array<ArrayBuffer>[];
  /** What the uniform says. */
  readonly size: ForwardSize;
  /** Of the inputs, the one that is a matrix to be packed. */
  readonly matrix: Value | undefined;
  /** Takes milliseconds at the first call. */
  readonly answer: () => Answer;
}

/** A batch of 2, 5 × 13 patches, 4 registers: 70 tokens an image, 140 rows, 130 patches. */
const canarySize: ForwardSize = { batch: 2, rows: 5, cols: 13, numTokens: 70 };
/**
 * One of its images: six rows are left behind tiles of 64 and of 32, for which a linear layer makes no tile;
 * of 140 there are twelve.
 */
const tailSize: ForwardSize = { ...canarySize, batch: 1 };

const { batch, rows: gridRows, cols: gridCols, numTokens } = canarySize;
const ROWS = batch * numTokens;
const PATCH_ROWS = batch * gridRows * gridCols;
const HEADS = 2;
const HEAD_DIM = 64;
const EMBED_DIM = HEADS * HEAD_DIM;
const REGISTERS = 4;
const PATCH_SIZE = 14;
const EPS = 1e-6;

/** Above 65,504, where f16 ends. */
const HUGE = 1e5;
/** Of the rows of an input, those that hold something huge. */
const HUGE_ROW = 33;
const LAST_ROW = ROWS - 1;

/**
 * What rounding to f32 may make of a sum, in whatever order and fused or not, and of WGSL's less exact
 * divisions and roots: this times the sum of the magnitudes that were added. So a bound is as tight for a row
 * of small numbers as for one of huge ones.
 */
const ROUNDING = 16 * 2 ** -24;
/** WGSL's exp and exp2 may be off by 3 + 2 · |x| units in the last place. */
const expError = (x: number): number => (3 + 2 * Math.abs(x)) * 2 ** -23;

let made: readonly Canary[] | undefined;

/** Every kernel of the forward once. */
export function canaries(): readonly Canary[] {
  return (made ??= makeCanaries());
}

function makeCanaries(): Canary[] {
  const graph = new GraphBuilder();
  const inputsOf = new Map<Value, Float32Array<ArrayBuffer>>();
  const input = (name: string, shape: readonly number[], values: Float32Array<ArrayBuffer>): Value => {
    const value = graph.input(name, shape);
    inputsOf.set(value, values);
    return value;
  };
  const nodes: { output: Value; size?: ForwardSize; matrix?: Value; answer: () => Answer }[] = [];

  // Four forms of one linear layer: 100 inputs, no multiple of 32; 140 columns, an odd number of vectors
  // behind two panels (SwiGLU: 136 of them).
  const inFeatures = 100;
  const x = uniform(ROWS * inFeatures);
  // Every fourth row has one number alone, up to 6: its sums are short, so that small faults show, of gelu
  // and silu too.
  for (let row = 0; row < ROWS; row += 4) {
    const alone = row * inFeatures + (row % inFeatures);
    const value = 6 * x[alone]!;
    x.fill(0, row * inFeatures, (row + 1) * inFeatures);
    x[alone] = value;
  }
  x[HUGE_ROW * inFeatures + 7] = HUGE;
  x[LAST_ROW * inFeatures + inFeatures - 1] = -700;
  const [outFeatures, outGated] = [140, 136];
  const [weight, bias, gamma, residual] = [
    exactWeights(outFeatures, inFeatures),
    uniform(outFeatures),
    uniform(outFeatures),
    uniform(ROWS * outFeatures),
  ];
  const sums = once(() =>
    products(ROWS, inFeatures, outFeatures, (row, k) => x[row * inFeatures + k]!, weight, bias),
  );
  const matrix = input('weight', [outFeatures, inFeatures], weight);
  const inputBias = input('bias', [outFeatures], bias);
  const gated = input('w12 weight', [outGated, inFeatures], weight.slice(0, outGated * inFeatures));
  const gatedBias = input('w12 bias', [outGated], bias.slice(0, outGated));
  const inputGamma = input('gamma', [outFeatures], gamma);
  for (const [name, size] of [
    ['', canarySize],
    ['tail ', tailSize],
  ] as const) {
    const rows = size.batch * size.numTokens;
    const inputX = input(`${name}x`, [rows, inFeatures], x.slice(0, rows * inFeatures));
    const added = input(`${name}residual`, [rows, outFeatures], residual.slice(0, rows * outFeatures));
    const sumsHere = (): Answer => firstOf(sums(), rows * outFeatures);
    nodes.push(
      { size, output: graph.linear(`${name}linear`, inputX, matrix, inputBias), matrix, answer: sumsHere },
      {
        size,
        output: graph.linearGelu(`${name}linear_gelu`, inputX, matrix, inputBias),
        matrix,
        answer: () => gelu(sumsHere()),
      },
      {
        size,
        output: graph.linearSwiglu(`${name}linear_swiglu`, inputX, gated, gatedBias),
        matrix: gated,
        answer: () => swiglu(sumsHere(), outFeatures, outGated / 2),
      },
      {
        size,
        output: graph.linearScaleResidual(
          `${name}linear_scale_residual`,
          inputX,
          matrix,
          inputBias,
          inputGamma,
          added,
        ),
        matrix,
        answer: () => scaleResidual(sumsHere(), gamma, residual),
      },
    );
  }

  const qkv = uniform(ROWS * 3 * EMBED_DIM);
  for (let d = 0; d < HEAD_DIM; d++) qkv[HUGE_ROW * 3 * EMBED_DIM + d]! *= 300; // a query that knows what it wants
  qkv[LAST_ROW * 3 * EMBED_DIM + 2 * EMBED_DIM + 5] = HUGE; // a value
  nodes.push({
    output: graph.attention('attention', input('qkv', [ROWS, 3 * EMBED_DIM], qkv), HEADS),
    answer: () => attention(qkv),
  });

  // More than one turn of 64 lanes, and the last turn not full.
  const normColumns = 388;
  const tokens = uniform(ROWS * normColumns);
  tokens[HUGE_ROW * normColumns + 9] = HUGE;
  for (let i = 0; i < normColumns; i++) tokens[LAST_ROW * normColumns + i]! += 1000; // E[x²] - E[x]² would cancel
  const [normWeight, normBias] = [uniform(normColumns), uniform(normColumns)];
  nodes.push({
    output: graph.layerNorm(
      'norm',
      input('norm x', [ROWS, normColumns], tokens),
      input('norm weight', [normColumns], normWeight),
      input('norm bias', [normColumns], normBias),
      EPS,
    ),
    answer: () => layerNorm(normColumns, tokens, normWeight, normBias),
  });

  const patchColumns = 68;
  const patchFeatures = 3 * PATCH_SIZE ** 2;
  const [height, width] = [gridRows * PATCH_SIZE, gridCols * PATCH_SIZE];
  const pixels = uniform(batch * 3 * height * width);
  pixels[pixels.length - 1] = HUGE;
  const [patchWeight, patchBias] = [exactWeights(patchColumns, patchFeatures), uniform(patchColumns)];
  const patchMatrix = input('patch weight', [patchColumns, 3, PATCH_SIZE, PATCH_SIZE], patchWeight);
  const pixelOf = (patch: number, k: number): number => {
    const [image, within] = [Math.floor(patch / (gridRows * gridCols)), patch % (gridRows * gridCols)];
    const [channel, inPatch] = [Math.floor(k / PATCH_SIZE ** 2), k % PATCH_SIZE ** 2];
    const row = Math.floor(within / gridCols) * PATCH_SIZE + Math.floor(inPatch / PATCH_SIZE);
    const col = (within % gridCols) * PATCH_SIZE + (inPatch % PATCH_SIZE);
    return pixels[((image * 3 + channel) * height + row) * width + col]!;
  };
  nodes.push({
    output: graph.patchEmbed(
      'patches',
      input('pixels', [batch, 3, height, width], pixels),
      patchMatrix,
      input('patch bias', [patchColumns], patchBias),
    ),
    matrix: patchMatrix,
    answer: () => products(PATCH_ROWS, patchFeatures, patchColumns, pixelOf, patchWeight, patchBias),
  });

  const [patches, cls, positions, registers] = [
    uniform(PATCH_ROWS * EMBED_DIM),
    uniform(EMBED_DIM),
    uniform((1 + gridRows * gridCols) * EMBED_DIM),
    uniform(REGISTERS * EMBED_DIM),
  ];
  nodes.push({
    output: graph.assembleTokens(
      'tokens',
      batch,
      input('tokens patches', [PATCH_ROWS, EMBED_DIM], patches),
      input('cls', [1, 1, EMBED_DIM], cls),
      input('positions', [1 + gridRows * gridCols, EMBED_DIM], positions),
      input('registers', [1, REGISTERS, EMBED_DIM], registers),
    ),
    answer: () => assembled(patches, cls, positions, registers),
  });

  // What models without registers run, and what a mask brings in.
  const plain = {
    patches: input('plain patches', [PATCH_ROWS, EMBED_DIM], patches),
    cls: input('plain cls', [1, 1, EMBED_DIM], cls),
    positions: input('plain positions', [1 + gridRows * gridCols, EMBED_DIM], positions),
  };
  nodes.push({
    output: graph.assembleTokens('plain tokens', batch, plain.patches, plain.cls, plain.positions),
    size: { ...canarySize, numTokens: numTokens - REGISTERS },
    answer: () => withoutRegisters(assembled(patches, cls, positions, registers)),
  });
  const mask = Uint32Array.from({ length: PATCH_ROWS }, (_, i) => (i % 3 === 1 ? 1 : 0));
  nodes.push({
    output: graph.maskPatches(
      'masked',
      plain.patches,
      input('mask', [PATCH_ROWS], new Float32Array(mask.buffer)),
      input('mask token', [1, EMBED_DIM], cls),
    ),
    answer: () => ({
      values: Float64Array.from(patches, (value, i) =>
        mask[Math.floor(i / EMBED_DIM)] ? cls[i % EMBED_DIM]! : value,
      ),
      allowed: new Float64Array(patches.length),
    }),
  });

  const all = graph.build(nodes.map(({ output }) => output)).nodes;
  return nodes.map(({ output, size = canarySize, matrix: packed, answer }) => {
    const node = all.find((each) => each.output === output)!;
    return {
      node,
      size,
      inputs: node.inputs.map((value) => inputsOf.get(value)!),
      matrix: packed,
      answer: once(answer),
    };
  });
}

function once<T extends object>(make: () => T): () => T {
  let value: T | undefined;
  return () => (value ??= make());
}

let state = 1;

/** In [-1, 1), always the same (an LCG's upper 24 bits, Numerical Recipes' constants). */
function random(): number {
  state = (Math.imul(state, 1664525) + 1013904223) | 0;
  return (state >>> 8) * 2 ** -23 - 1;
}

function uniform(count: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, random);
}

/** Whole numbers from -127 to 127, over 128; 127 is in every row, so that int8 has 1 / 128 for its scale. */
function exactWeights(rows: number, columns: number): Float32Array<ArrayBuffer> {
  const values = Float32Array.from({ length: rows * columns }, () => Math.round(127 * random()) / 128);
  for (let row = 0; row < rows; row++) values[row * columns + (row % columns)] = 127 / 128;
  return values;
}

/** x · weightᵀ + bias, and what each sum's rounding may cost. */
function products(
  rows: number,
  inFeatures: number,
  columns: number,
  x: (row: number, k: number) => number,
  weight: Float32Array,
  bias: Float32Array,
): Answer {
  const values = new Float64Array(rows * columns);
  const allowed = new Float64Array(rows * columns);
  const line = new Float64Array(inFeatures);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < inFeatures; k++) line[k] = x(row, k);
    for (let column = 0; column < columns; column++) {
      let sum = bias[column]!;
      let magnitude = Math.abs(sum);
      for (let k = 0, w = column * inFeatures; k < inFeatures; k++, w++) {
        const product = line[k]! * weight[w]!;
        sum += product;
        magnitude += Math.abs(product);
      }
      values[row * columns + column] = sum;
      allowed[row * columns + column] = ROUNDING * magnitude;
    }
  }
  return { values, allowed };
}

function firstOf({ values, allowed }: Answer, count: number): Answer {
  return { values: values.subarray(0, count), allowed: allowed.subarray(0, count) };
}

function scaleResidual({ values, allowed }: Answer, gamma: Float32Array, residual: Float32Array): Answer {
  const scaled = values.map((value, i) => gamma[i % gamma.length]! * value);
  return {
    values: scaled.map((value, i) => value + residual[i]!),
    allowed: scaled.map(
      (value, i) =>
        Math.abs(gamma[i % gamma.length]!) * allowed[i]! +
        ROUNDING * (Math.abs(value) + Math.abs(residual[i]!)),
    ),
  };
}

/** gelu's slope is at most 1.13; its own error is a rounding of what it gives. */
function gelu({ values, allowed }: Answer): Answer {
  return {
    values: values.map((x) => (x / 2) * (1 + erf(x / Math.SQRT2))),
    allowed: allowed.map((error) => 2 * error),
  };
}

/**
 * To 1e-15, from a series of positive terms: 2/√π · exp(-x²) · Σ 2ⁿ x²ⁿ⁺¹ / (2n + 1)!! (Abramowitz and Stegun
 * 7.1.6).
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

/** Of rows of `columns` sums, the first `half` are gates and the next as many what they multiply. */
function swiglu(both: Answer, columns: number, half: number): Answer {
  const values = new Float64Array((both.values.length / columns) * half);
  const allowed = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const at = Math.floor(i / half) * columns + (i % half);
    const [gate, up] = [both.values[at]!, both.values[at + half]!];
    const sigmoid = 1 / (1 + Math.exp(-gate));
    const silu = gate * sigmoid;
    values[i] = silu * up;
    // silu's slope is at most 1.1.
    const siluError = 1.1 * both.allowed[at]! + Math.abs(silu) * ((1 - sigmoid) * expError(gate) + ROUNDING);
    allowed[i] =
      Math.abs(up) * siluError + Math.abs(silu) * both.allowed[at + half]! + ROUNDING * Math.abs(values[i]!);
  }
  return { values, allowed };
}

function attention(qkv: Float32Array): Answer {
  const values = new Float64Array(ROWS * EMBED_DIM);
  const allowed = new Float64Array(ROWS * EMBED_DIM);
  const weights = new Float64Array(numTokens);
  const errors = new Float64Array(numTokens);
  for (let row = 0; row < ROWS; row++) {
    const image = row - (row % numTokens);
    for (let head = 0; head < HEADS; head++) {
      const part = (token: number, which: number): number =>
        token * 3 * EMBED_DIM + which * EMBED_DIM + head * HEAD_DIM;
      const q = part(row, 0);
      for (let key = 0; key < numTokens; key++) {
        const k = part(image + key, 1);
        let [score, magnitude] = [0, 0];
        for (let d = 0; d < HEAD_DIM; d++) {
          score += (qkv[q + d]! * qkv[k + d]!) / 8;
          magnitude += Math.abs(qkv[q + d]! * qkv[k + d]!) / 8;
        }
        weights[key] = score;
        errors[key] = ROUNDING * magnitude;
      }
      const maximum = weights.reduce((most, score) => Math.max(most, score));
      let total = 0;
      for (let key = 0; key < numTokens; key++) {
        errors[key]! += expError((weights[key]! - maximum) * Math.LOG2E);
        total += weights[key] = Math.exp(weights[key]! - maximum);
      }
      for (let d = 0; d < HEAD_DIM; d++) {
        let [sum, magnitude, error] = [0, 0, 0];
        for (let key = 0; key < numTokens; key++) {
          const value = (weights[key]! / total) * qkv[part(image + key, 2) + d]!;
          sum += value;
          magnitude += Math.abs(value);
        }
        // A weight that is off by its error draws the result towards its value by as much.
        for (let key = 0; key < numTokens; key++)
          error += (weights[key]! / total) * errors[key]! * Math.abs(qkv[part(image + key, 2) + d]! - sum);
        values[row * EMBED_DIM + head * HEAD_DIM + d] = sum;
        allowed[row * EMBED_DIM + head * HEAD_DIM + d] = 1.1 * error + ROUNDING * magnitude;
      }
    }
  }
  return { values, allowed };
}

function layerNorm(columns: number, x: Float32Array, weight: Float32Array, bias: Float32Array): Answer {
  const values = new Float64Array(x.length);
  const allowed = new Float64Array(x.length);
  for (let first = 0; first < x.length; first += columns) {
    let [mean, magnitude, variance] = [0, 0, 0];
    for (let i = first; i < first + columns; i++) {
      mean += x[i]! / columns;
      magnitude += Math.abs(x[i]!) / columns;
    }
    for (let i = first; i < first + columns; i++) variance += (x[i]! - mean) ** 2 / columns;
    const scale = 1 / Math.sqrt(variance + EPS);
    const meanError = ROUNDING * magnitude;
    for (let i = 0; i < columns; i++) {
      const normed = (x[first + i]! - mean) * scale;
      values[first + i] = normed * weight[i]! + bias[i]!;
      const relative = ROUNDING + meanError ** 2 / variance;
      allowed[first + i] =
        Math.abs(weight[i]!) * (scale * meanError + 2 * relative * Math.abs(normed)) +
        ROUNDING * Math.abs(bias[i]!);
    }
  }
  return { values, allowed };
}

function assembled(
  patches: Float32Array,
  cls: Float32Array,
  positions: Float32Array,
  registers: Float32Array,
): Answer {
  const values = new Float64Array(ROWS * EMBED_DIM);
  const allowed = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const [row, column] = [Math.floor(i / EMBED_DIM), i % EMBED_DIM];
    const [image, token] = [Math.floor(row / numTokens), row % numTokens];
    const patch = token - REGISTERS - 1;
    if (token > 0 && patch < 0) {
      values[i] = registers[(token - 1) * EMBED_DIM + column]!;
    } else {
      const content =
        token === 0 ? cls[column]! : patches[(image * gridRows * gridCols + patch) * EMBED_DIM + column]!;
      const position = positions[(token === 0 ? 0 : patch + 1) * EMBED_DIM + column]!;
      values[i] = content + position;
      allowed[i] = ROUNDING * (Math.abs(content) + Math.abs(position));
    }
  }
  return { values, allowed };
}

/** The same of a model that has none: its tokens are the rest. */
function withoutRegisters({ values, allowed }: Answer): Answer {
  const stays = (i: number): boolean => {
    const token = Math.floor(i / EMBED_DIM) % numTokens;
    return token === 0 || token > REGISTERS;
  };
  return { values: values.filter((_, i) => stays(i)), allowed: allowed.filter((_, i) => stays(i)) };
}
