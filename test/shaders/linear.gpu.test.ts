import { afterAll, describe, expect, test } from 'vitest';
import type { WeightStorage } from '../../src/gpu/kernels/kernel.ts';
import { EVERY_TILE, type Target } from '../../src/gpu/lowering.ts';
import type { Node } from '../../src/graph/graph.ts';
import { expectClose, Random, ROUNDING, WorstDistances, type Tolerance } from '../random.ts';
import { gelu, silu } from '../reference/activation.ts';
import * as twins from '../reference/linear.ts';
import { full } from '../full.ts';
import {
  bitsOf,
  familiesOf,
  nodeOf,
  packWeight,
  runNode,
  storagesOf,
  tokenRows,
  type PackedWeight,
} from './harness.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';

/**
 * Partial sums stay near 1 and are rounded once a term, so the error of an inner product of `terms` wanders
 * off by about √terms / 4 roundings; the largest of some 10,000 is 4 to 7 times that. (Weights as a linear
 * layer has them, inputs in [-1, 1).)
 */
const LINEAR = (terms: number): Tolerance => ({ maxAbs: 3 * Math.sqrt(terms) * ROUNDING, nmse: 1e-12 });
/**
 * The same sums with SPREAD times the weights; gelu's slope is at most 1.13, and its own error is 2e-7
 * relative.
 */
const GELU = (terms: number): Tolerance => ({ maxAbs: 1.13 * SPREAD * LINEAR(terms).maxAbs, nmse: 1e-12 });
/** gate and up both reach 2 · SPREAD here, and each meets the other's error. */
const SWIGLU = (terms: number): Tolerance => ({
  maxAbs: 3 * SPREAD ** 2 * LINEAR(terms).maxAbs,
  nmse: 1e-12,
});
/**
 * The activation functions alone, on numbers from -10 to 10: a few roundings at 10, of which the polynomial's
 * error is one.
 */
const ACTIVATION: Tolerance = { maxAbs: 2e-6, nmse: 1e-13 };
/** silu's own clamp at -80 leaves x · e⁻⁸⁰ of what should be smaller still. */
const FAR_BELOW = 1e-28;

/**
 * Weights are this many times a linear layer's where an activation function follows, so that its curved part
 * is met as well as its straight ends.
 */
const SPREAD = 3;

const forms = ['linear', 'linearGelu', 'linearSwiglu', 'linearScaleResidual'] as const;
type Form = (typeof forms)[number];

interface Layer {
  readonly form: Form;
  readonly inFeatures: number;
  /** Rows of the weight; SwiGLU gives half as many columns. */
  readonly outFeatures: number;
  readonly weight: PackedWeight;
  readonly bias: Float32Array<ArrayBuffer>;
  readonly gamma: Float32Array<ArrayBuffer>;
}

/**
 * No multiples of a tile of 32, nor of a panel of 64 columns; halves of no multiple of 8 vectors for SwiGLU.
 */
const shapes = [
  [344, 136],
  [100, 344],
  [588, 72],
] as const;

/**
 * Rows as (batch, tokens): 1, 3, 15, 17, 33, 65, 72, 73, 100. Where 8 or fewer are left behind the last full
 * tile no tile is made of them: 33 and 65 leave one, 72 leaves eight, 73 nine.
 */
const rowCounts = [
  [1, 1],
  [3, 1],
  [1, 15],
  [1, 17],
  [3, 11],
  [1, 65],
  [2, 36],
  [1, 73],
  [2, 50],
] as const;

const gpu = await sharedGpu();
const worst = new WorstDistances();
afterAll(() => worst.print());

/** A way to carry a linear layer out: `alternative` counts those of a target. */
interface Family extends Omit<Target, 'weights'> {
  readonly alternative: number;
}

const tiled: Family = { software: false, alternative: 0 };
const narrow: Family = { software: false, alternative: 1 };
const widest: Family = { software: false, ...EVERY_TILE, alternative: 0 };
const small: Family = { software: false, ...EVERY_TILE, alternative: 3 };
const families: (readonly [string, Family])[] = [
  ...familiesOf(gpu).map(([name, target]) => [name, { ...target, alternative: 0 }] as const),
  ['widest', widest],
  ['narrow', narrow],
  ['small', small],
];

/**
 * A software adapter takes seconds to compile a form of a tile that is not the usual one: there, one form is met
 * outside the full run.
 */
const unusual: readonly Family[] = [widest, narrow, small];
const formsOf = (family: Family): readonly Form[] =>
  gpu.software && !full && unusual.includes(family) ? ['linear'] : forms;

describe.each(families)('linear, %s', (name, family) => {
  test.each(formsOf(family))('%s: every storage, rows and columns that fill no tile', async (form) => {
    // A software adapter takes seconds to compile one: there, each storage meets one of the shapes, and all
    // of them in the full run if no barriers are in it; where there are, outside the full run, one storage
    // does.
    const all = !gpu.software || (full && family.software);
    const storages = storagesOf(gpu);
    for (const [turn, storage] of storages.entries()) {
      if (gpu.software && !full && !family.software && turn < storages.length - 1) continue;
      for (const [inFeatures, outFeatures] of all
        ? shapes
        : [shapes[(turn + forms.indexOf(form)) % shapes.length]!]) {
        const layer = randomLayer(form, inFeatures, outFeatures, storage);
        for (const [batch, numTokens] of rowCounts) {
          const rows = batch * numTokens;
          const x = new Random(rows).uniform(rows * inFeatures);
          const residual = new Random(rows + 1).uniform(
            (rows * layer.outFeatures) / (form === 'linearSwiglu' ? 2 : 1),
          );
          const found = await run(layer, storage, family, batch, numTokens, x, residual);
          const tolerance =
            form === 'linearGelu'
              ? GELU(inFeatures)
              : form === 'linearSwiglu'
                ? SWIGLU(inFeatures)
                : LINEAR(inFeatures);
          const where = `${name}.${form}, ${storage}, ${rows} × ${inFeatures} · ${outFeatures}`;
          worst.note(
            `${name}.${form} ${storage}`,
            expectClose(where, found, twin(layer, rows, x, residual), tolerance),
            tolerance,
          );
        }
      }
    }
  });

  test('an image alone and in a batch of 3: the same bits', async () => {
    const form = formsOf(family).at(-1)!;
    const turn = storagesOf(gpu).length - 1;
    const storage = storagesOf(gpu)[turn]!;
    const [inFeatures, outFeatures] = shapes[(turn + forms.indexOf(form)) % shapes.length]!; // compiled already
    const layer = randomLayer(form, inFeatures, outFeatures, storage);
    const numTokens = 13;
    const x = new Random(1).uniform(3 * numTokens * inFeatures);
    const residual = new Random(2).uniform(3 * numTokens * outFeatures);
    const together = bitsOf(await run(layer, storage, family, 3, numTokens, x, residual));
    for (let image = 0; image < 3; image++) {
      const rows = (values: Float32Array<ArrayBuffer>, columns: number): Float32Array<ArrayBuffer> =>
        values.slice(image * numTokens * columns, (image + 1) * numTokens * columns);
      const alone = bitsOf(
        await run(layer, storage, family, 1, numTokens, rows(x, inFeatures), rows(residual, outFeatures)),
      );
      expect(alone).toEqual(together.slice(image * alone.length, (image + 1) * alone.length));
    }
  });
});

test('rows by the hundred: 535 and 1024', async () => {
  const [inFeatures, outFeatures] = shapes[1];
  const layer = randomLayer('linear', inFeatures, outFeatures, 'f16-packed');
  for (const [name, family] of full ? families : families.slice(0, familiesOf(gpu).length)) {
    for (const rows of [535, 1024]) {
      const x = new Random(rows).uniform(rows * inFeatures);
      const found = await run(layer, 'f16-packed', family, 1, rows, x);
      expectClose(`${rows} rows, ${name}`, found, twin(layer, rows, x), LINEAR(inFeatures));
    }
  }
});

// The size of the input may choose between them, and the adapter between the ways to stage f16: the bits must
// not tell.
const compared = forms.filter(
  (form) => storagesOf(gpu).includes('f16') || unusual.some((family) => formsOf(family).includes(form)),
);
test.each(compared)('%s: the same bits from every tile, whichever way f16 is staged', async (form) => {
  const turn = storagesOf(gpu).length - 1;
  const storage = storagesOf(gpu)[turn]!; // f16, where the adapter has it
  const [inFeatures, outFeatures] = shapes[(turn + forms.indexOf(form)) % shapes.length]!; // compiled already
  const layer = randomLayer(form, inFeatures, outFeatures, storage);
  const others = [widest, narrow, small].filter((family) => formsOf(family).includes(form));
  if (storage === 'f16')
    others.push(...[tiled, widest, narrow, small].map((family) => ({ ...family, operands: 'f16' as const })));
  // 75: a tile for each. 97: a tile of 64 that is half full, and one row behind the tiles of 32. 69: five
  // rows behind all.
  for (const rows of [75, 97, 69]) {
    const x = new Random(rows).uniform(rows * inFeatures);
    const residual = new Random(rows + 1).uniform((rows * outFeatures) / (form === 'linearSwiglu' ? 2 : 1));
    const bits = bitsOf(await run(layer, storage, tiled, 1, rows, x, residual));
    for (const other of others)
      expect(bitsOf(await run(layer, storage, other, 1, rows, x, residual)), `${rows} rows`).toEqual(bits);
  }
});

// The function behind the product: the weight is the identity, so the kernel gives gelu(x) and silu(x)
// themselves.
test.each(['linearGelu', 'linearSwiglu'] as const)(
  '%s: the activation function, from -10 to 10 and far beyond',
  async (form) => {
    const far = [
      -1e6, -1e4, -100, -88, -87, -20, -5.6, -1e-3, -1e-30, 0, 1e-30, 1e-3, 5.6, 20, 87, 88, 100, 1e4, 3e38,
    ].map(Math.fround);
    const near = Float32Array.from(
      { length: 40_000 - far.length },
      (_, i) => ((i % 2 === 0 ? i : -i) / 40_000) * 10,
    );
    const x = new Float32Array([...far, ...near]);
    const rows = x.length / 4;
    const outFeatures = form === 'linearGelu' ? 4 : 8;
    const identity = new Float32Array(outFeatures * 4);
    for (let i = 0; i < 4; i++) identity[i * 4 + i] = 1;
    const bias = new Float32Array(outFeatures).fill(1, 4); // SwiGLU: up is 1
    const layer: Layer = {
      form,
      inFeatures: 4,
      outFeatures,
      weight: packWeight(outFeatures, 4, identity, 'f32'),
      bias,
      gamma: bias,
    };

    const found = await run(layer, 'f32', { ...familiesOf(gpu).at(-1)![1], alternative: 0 }, 1, rows, x);
    const f = form === 'linearGelu' ? gelu : silu;
    const expected = Float64Array.from(x, f);
    worst.note(
      `${form === 'linearGelu' ? 'gelu' : 'silu'} alone`,
      expectClose(form, found.slice(far.length), expected.slice(far.length), ACTIVATION),
      ACTIVATION,
    );
    for (let i = 0; i < far.length; i++) {
      const error = Math.abs(found[i]! - expected[i]!);
      const allowed =
        Math.abs(x[i]!) > 10 ? Math.max(FAR_BELOW, 4 * ROUNDING * Math.abs(expected[i]!)) : ACTIVATION.maxAbs;
      expect(error, `${form}(${x[i]}) is ${expected[i]}, found ${found[i]}`).toBeLessThanOrEqual(allowed);
    }
  },
);

function nodeFor({ form, inFeatures, outFeatures }: Layer, rows: number): Node {
  return nodeOf((graph) => {
    const x = graph.input('x', [rows, inFeatures]);
    const weight = graph.weight('weight', [outFeatures, inFeatures]);
    const bias = graph.weight('bias', [outFeatures]);
    if (form !== 'linearScaleResidual') return graph[form]('node', x, weight, bias);
    return graph[form](
      'node',
      x,
      weight,
      bias,
      graph.weight('gamma', [outFeatures]),
      graph.input('residual', [rows, outFeatures]),
    );
  });
}

function run(
  layer: Layer,
  storage: WeightStorage,
  { alternative, ...target }: Family,
  batch: number,
  numTokens: number,
  x: Float32Array<ArrayBuffer>,
  residual: Float32Array<ArrayBuffer> = new Float32Array(0),
): Promise<Float32Array<ArrayBuffer>> {
  const { weight, bias, gamma } = layer;
  return runNode(gpu, nodeFor(layer, batch * numTokens), {
    target: { ...target, weights: storage },
    alternative,
    size: tokenRows(batch, numTokens),
    data: { x, weight: weight.packed, bias, gamma, residual },
  });
}

function twin(
  { form, inFeatures, outFeatures, weight, bias, gamma }: Layer,
  rows: number,
  x: Float32Array,
  residual = new Float32Array(0),
): Float64Array {
  return twins[form]({ rows, inFeatures, outFeatures }, x, weight.values, bias, gamma, residual);
}

/** Weights as large as a linear layer's; every seventh is small enough to be subnormal in f16. */
function randomLayer(form: Form, inFeatures: number, outFeatures: number, storage: WeightStorage): Layer {
  const random = new Random(inFeatures * 7 + outFeatures);
  const spread = form === 'linearGelu' || form === 'linearSwiglu' ? SPREAD : 1;
  const weight = random.uniform(outFeatures * inFeatures, spread * Math.sqrt(3 / inFeatures));
  for (let i = 0; i < weight.length; i += 7) weight[i]! *= 1e-4;
  return {
    form,
    inFeatures,
    outFeatures,
    weight: packWeight(outFeatures, inFeatures, weight, storage),
    bias: random.uniform(outFeatures, 0.2),
    gamma: random.uniform(outFeatures),
  };
}
