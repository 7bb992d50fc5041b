// Linear layers with f16 arithmetic. They need shader-f16, which lavapipe has and SwiftShader lacks.
import { afterAll, describe, expect, test } from 'vitest';
import { f16Kernels } from '../../src/gpu/kernels/f16Kernels.ts';
import { EVERY_TILE } from '../../src/gpu/kernels/tunedKernels.ts';
import { alternatives, type Target } from '../../src/gpu/lowering.ts';
import type { Node } from '../../src/graph/graph.ts';
import { F16_ARITHMETIC_LIMIT } from '../../src/weights/packing.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { minCosine } from '../parity.ts';
import { Random, throughF16 } from '../random.ts';
import * as twins from '../reference/linear.ts';
import { linearF16 } from '../reference/linear_f16.ts';
import { bitsOf, nodeOf, packWeight, runNode, tokenRows } from './harness.ts';

const gpu = await sharedGpu();

/** The tiles of the f16 kernels, by their index among the alternatives of the target. */
const tiles = { widest: 0, wide: 1, narrow: 2 } as const;
type Tile = keyof typeof tiles;
const target: Target = { software: false, ...EVERY_TILE, weights: 'f16', operands: 'f16', f16: f16Kernels };

const forms = ['linear', 'linearGelu', 'linearSwiglu', 'linearScaleResidual'] as const;
type Form = (typeof forms)[number];

/** One linear layer with its input. */
interface Case {
  readonly form: Form;
  readonly rows: number;
  readonly inFeatures: number;
  /** Rows of the weight. The output of SwiGLU has half as many columns. */
  readonly outFeatures: number;
  readonly x: Float32Array<ArrayBuffer>;
  /** Values that f16 represents. */
  readonly weight: Float32Array<ArrayBuffer>;
  readonly bias: Float32Array<ArrayBuffer>;
  readonly gamma: Float32Array<ArrayBuffer>;
  readonly residual: Float32Array<ArrayBuffer>;
}

/** Random numbers of the size of a linear layer's. Every seventh weight is subnormal in f16. */
function randomCase(form: Form, rows: number, inFeatures: number, outFeatures: number): Case {
  const random = new Random(rows * 31 + inFeatures * 7 + outFeatures);
  const weight = random.uniform(outFeatures * inFeatures, Math.sqrt(3 / inFeatures));
  for (let i = 0; i < weight.length; i += 7) weight[i]! *= 1e-4;
  return {
    form,
    rows,
    inFeatures,
    outFeatures,
    x: random.uniform(rows * inFeatures),
    weight: throughF16(weight),
    bias: random.uniform(outFeatures, 0.2),
    gamma: random.uniform(outFeatures),
    residual: random.uniform((rows * outFeatures) / (form === 'linearSwiglu' ? 2 : 1)),
  };
}

function nodeFor({ form, rows, inFeatures, outFeatures }: Case): Node {
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

function run(each: Case, tile: Tile, batch = 1): Promise<Float32Array<ArrayBuffer>> {
  const { x, bias, gamma, residual, weight, outFeatures, inFeatures, rows } = each;
  const { packed } = packWeight(outFeatures, inFeatures, weight, 'f16');
  return runNode(gpu, nodeFor(each), {
    target,
    alternative: tiles[tile],
    size: tokenRows(batch, rows / batch),
    data: { x, weight: packed, bias, gamma, residual },
  });
}

const twin = ({ form, x, weight, bias, gamma, residual, ...size }: Case): Float64Array =>
  twins[form](size, x, weight, bias, gamma, residual);

const emulated = ({ x, weight, bias, ...size }: Case, fused: boolean): ReturnType<typeof linearF16> =>
  linearF16(size, x, weight, bias, fused);

/** Root of the mean squared error, relative to that of the expected values. */
function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [errors, squares] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    errors += (found[i]! - expected[i]!) ** 2;
    squares += expected[i]! ** 2;
  }
  return Math.sqrt(errors / squares);
}

/**
 * Checks every element of a plain layer against the float64 reference, whether or not the adapter fuses the
 * multiply-add: at most 18 roundings of f16 of the sum of magnitudes, and the spacing of subnormal f16 at the scale of
 * a run's largest x.
 */
function expectBounded(each: Case, found: Float32Array): void {
  const { x, weight, bias, rows, inFeatures, outFeatures } = each;
  const expected = twin(each);
  for (let row = 0; row < rows; row++) {
    const spacings = Float64Array.from({ length: Math.ceil(inFeatures / 16) }, (_, run) => {
      const first = row * inFeatures + 16 * run;
      const values = x.subarray(first, Math.min(first + 16, (row + 1) * inFeatures));
      return (Math.max(...values.map(Math.abs)) / 256) * 2 ** -24;
    });
    for (let column = 0; column < outFeatures; column++) {
      let bound = 18 * 2 ** -11 * Math.abs(bias[column]!);
      for (let k = 0; k < inFeatures; k++) {
        const factor = Math.abs(weight[column * inFeatures + k]!);
        bound +=
          18 * 2 ** -11 * Math.abs(x[row * inFeatures + k]!) * factor + spacings[k >> 4]! * (1 + factor);
      }
      const at = row * outFeatures + column;
      const error = Math.abs(found[at]! - expected[at]!);
      if (!(error <= bound))
        throw new Error(
          `row ${row}, column ${column}: expected ${expected[at]} ± ${bound}, found ${found[at]}`,
        );
    }
  }
}

/** (in, out) features that are multiples of neither a run nor a 64-column panel, and of both. */
const shapes = [
  [100, 344],
  [344, 136],
  [384, 192],
] as const;

/** Rows that are a tail only, a tile only, and both: full tiles have 32 or 64 rows, and a tail at most 8. */
const rowCounts = [1, 8, 9, 33, 65, 75, 150];

/**
 * Relative error of a layer of random numbers: x and each sum are rounded to 11 bits. Most errors are 3e-4 to 6e-4; a
 * product of two such layers (SwiGLU) has twice that.
 */
const allowedError = (form: Form): number => (form === 'linearSwiglu' ? 1.6e-3 : 8e-4);

const names = Object.keys(tiles) as Tile[];
const notes: string[] = [];
afterAll(() => console.log(notes.join('\n')));

if (!gpu.device.features.has('shader-f16')) {
  test('without shader-f16, the kernels do not compile', async () => {
    const [dispatch] = alternatives(nodeFor(randomCase('linear', 1, 100, 344)), target);
    await expect(gpu.pipelines.compile(dispatch.variant)).rejects.toMatchObject({ code: 'KERNEL_COMPILE' });
  });
} else {
  describe.each(names)('%s tile', (tile) => {
    test.each(forms)('%s: near the float64 reference', async (form) => {
      let worst = 0;
      for (const [inFeatures, outFeatures] of form === 'linear' ? shapes : shapes.slice(0, 1))
        for (const rows of rowCounts) {
          const each = randomCase(form, rows, inFeatures, outFeatures);
          const error = relativeError(await run(each, tile), twin(each));
          worst = Math.max(worst, error);
          expect(error, `${rows} rows, ${inFeatures} · ${outFeatures}`).toBeLessThan(allowedError(form));
        }
      notes.push(`${tile} ${form}: relative error at most ${worst.toExponential(1)}`);
    });

    test('the bits of the emulation, with one rounding or two for each multiply-add', async () => {
      const differing = [0, 0];
      for (const [inFeatures, outFeatures] of shapes)
        for (const rows of [5, 75]) {
          const each = randomCase('linear', rows, inFeatures, outFeatures);
          const found = bitsOf(await run(each, tile));
          [true, false].forEach((fused, i) => {
            const expected = bitsOf(emulated(each, fused).out);
            differing[i]! += found.filter((word, at) => word !== expected[at]).length;
          });
        }
      notes.push(`${tile}: ${differing.join(' or ')} elements differ from the emulation (fused or not)`);
      expect(Math.min(...differing)).toBe(0);
    });

    test('an image alone and in a batch of 3 gives the same bits', async () => {
      const [inFeatures, outFeatures] = shapes[0];
      const rows = 3 * 13;
      const each = randomCase('linear', rows, inFeatures, outFeatures);
      const together = bitsOf(await run(each, tile, 3));
      for (let image = 0; image < 3; image++) {
        const x = each.x.slice(image * 13 * inFeatures, (image + 1) * 13 * inFeatures);
        const alone = bitsOf(await run({ ...each, rows: 13, x }, tile));
        expect(alone).toEqual(together.slice(image * alone.length, (image + 1) * alone.length));
      }
    });
  });

  test.each(forms)('%s: the same bits from every tile', async (form) => {
    // 75 rows: the remainder fills a tile of every kernel. 97 rows half fill a 64-row tile, and leave one row after the
    // 32-row tiles. 69 rows leave five rows after the tiles of every kernel.
    for (const rows of [75, 97, 69]) {
      const each = randomCase(form, rows, ...shapes[0]);
      const bits = bitsOf(await run(each, 'wide'));
      for (const tile of ['widest', 'narrow'] as const)
        expect(bitsOf(await run(each, tile)), `${tile}, ${rows} rows`).toEqual(bits);
    }
  });

  describe('massive activations', () => {
    const [inFeatures, outFeatures] = shapes[0];
    const planted = [8, 65_504, 65_520, 1e5, 1e6, 1e20, 1e37];

    test.each(['wide', 'narrow'] as const)(
      '%s tile: one in a row, from 8 to 1e37, at every place of a run',
      async (tile) => {
        for (const value of planted) {
          const each = randomCase('linear', 73, inFeatures, outFeatures); // nine rows after the full tile
          for (let row = 0; row < each.rows; row++)
            each.x[row * inFeatures + ((row * 7) % inFeatures)] = row % 2 === 0 ? value : -value;
          const found = await run(each, tile);
          expect(found.every(Number.isFinite)).toBe(true);
          expectBounded(each, found);
        }
      },
    );

    // The massive value adds nothing, so the result is the sum of the small values of its run, of which f16 loses bits.
    test.each([
      ['one run', 1e6],
      ['every run', 1e6],
    ] as const)('with weights of zero, in %s: cosine of every row up to %d', async (runs, most) => {
      const each = randomCase('linear', 73, 384, 192);
      for (const value of [1e3, 1e5, 1e6].filter((value) => value <= most))
        for (const tile of ['wide', 'narrow'] as const) {
          for (let k = 3; k < 384; k += runs === 'one run' ? 384 : 16) {
            for (let row = 0; row < each.rows; row++) each.x[row * 384 + k] = value;
            for (let column = 0; column < 192; column++) each.weight[column * 384 + k] = 0;
          }
          const cosine = minCosine(await run(each, tile), Float32Array.from(twin(each)), 192);
          notes.push(
            `massive values of ${value} in ${runs}, with weights of zero: 1 - ${(1 - cosine).toExponential(1)}`,
          );
          expect(cosine).toBeGreaterThanOrEqual(0.99999);
        }
    });

    test('rows of zeros and of subnormal numbers give the bias', async () => {
      const each = randomCase('linear', 73, inFeatures, outFeatures);
      each.x.fill(0);
      for (let row = 1; row < each.rows; row += 2)
        each.x.fill(2 ** -140, row * inFeatures, (row + 1) * inFeatures);
      for (const tile of ['wide', 'narrow'] as const) {
        const found = await run(each, tile);
        for (let row = 0; row < each.rows; row++)
          expect(found.subarray(row * outFeatures, (row + 1) * outFeatures)).toEqual(each.bias);
      }
    });

    test('all values of a row, all of one sign, with the largest weights: no run overflows', async () => {
      for (const value of [2 ** -130, 1e-38, 7.99, 511.9, 65_504, 1e6, 1e30]) {
        const each = randomCase('linear', 12, inFeatures, outFeatures);
        each.x.fill(value);
        each.weight.fill(throughF16(Float32Array.of(F16_ARITHMETIC_LIMIT * (1 - 2 ** -11)))[0]!);
        const { largestRun } = emulated(each, false);
        expect(largestRun).toBeLessThan(65_504);
        for (const tile of ['wide', 'narrow'] as const) {
          const found = await run(each, tile);
          expect(found.every(Number.isFinite)).toBe(true);
          expectBounded(each, found);
        }
      }
    });

    test.each([NaN, Infinity, -Infinity])(
      '%s in a row makes that row not finite, and no other',
      async (value) => {
        const each = randomCase('linear', 73, inFeatures, outFeatures);
        for (const row of [3, 70]) each.x[row * inFeatures + 37] = value;
        for (const tile of ['wide', 'narrow'] as const) {
          const found = await run(each, tile);
          for (let row = 0; row < each.rows; row++) {
            const values = found.subarray(row * outFeatures, (row + 1) * outFeatures);
            expect(values.some(Number.isFinite), `${tile}, row ${row}`).toBe(row !== 3 && row !== 70);
          }
        }
      },
    );
  });
}
