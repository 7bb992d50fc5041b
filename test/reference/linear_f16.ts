/**
 * Exact emulation of the arithmetic of shaders/linear_f16.wgsl: x · weightᵀ in runs of 16 products in f16, which are
 * scaled and added in f32. Every operation rounds to nearest, ties to even.
 */
import type { LinearSize } from './linear.ts';

const RUN = 16;
const words = new DataView(new ArrayBuffer(8));

/** The exponent e of a nonzero float64: 2^e ≤ |value| < 2^(e + 1). */
function exponentOf(value: number): number {
  words.setFloat64(0, value);
  return ((words.getUint32(0) >>> 20) & 0x7ff) - 1023;
}

/** Rounds to the nearest f16, subnormals included. */
export function toF16(value: number): number {
  if (value === 0 || !Number.isFinite(value)) return value;
  const unit = 2 ** (Math.max(exponentOf(value), -14) - 10);
  const magic = 1.5 * 2 ** 52 * unit; // adding it leaves no bits below `unit`
  const rounded = value + magic - magic;
  return Math.abs(rounded) > 65504 ? Math.sign(value) * Infinity : rounded;
}

/** Multiplies and adds in f16. `fused`: rounds once. */
const multiplyAdd = (a: number, b: number, sum: number, fused: boolean): number =>
  toF16((fused ? a * b : toF16(a * b)) + sum);

/** The scale of 16 values: their largest magnitude becomes 256 or more, but less than 512. */
export function scaleOf(values: Float32Array): number {
  const most = Math.max(...values.map(Math.abs));
  return most === 0 ? 2 ** 126 : 2 ** (8 - Math.max(exponentOf(most), -118));
}

/**
 * x · weightᵀ + bias, (rows, outFeatures), as f32. `weight` has values that f16 represents. `fused`: whether the
 * adapter rounds a multiply-add in f16 once. Also returns the largest magnitude of a run.
 */
export function linearF16(
  { rows, inFeatures, outFeatures }: LinearSize,
  x: Float32Array,
  weight: Float32Array,
  bias: Float32Array,
  fused: boolean,
): { out: Float32Array<ArrayBuffer>; largestRun: number } {
  const out = new Float32Array(rows * outFeatures);
  let largestRun = 0;
  const staged = new Float64Array(inFeatures);
  for (let row = 0; row < rows; row++) {
    const line = x.subarray(row * inFeatures, (row + 1) * inFeatures);
    const inverses: number[] = [];
    for (let first = 0; first < inFeatures; first += RUN) {
      const values = line.subarray(first, first + RUN);
      const scale = scaleOf(values);
      inverses.push(1 / scale);
      values.forEach((value, i) => (staged[first + i] = toF16(Math.fround(value * scale))));
    }
    for (let column = 0; column < outFeatures; column++) {
      let sum = 0;
      for (let first = 0; first < inFeatures; first += RUN) {
        let run = 0;
        for (let k = first; k < Math.min(first + RUN, inFeatures); k++)
          run = multiplyAdd(staged[k]!, weight[column * inFeatures + k]!, run, fused);
        largestRun = Math.max(largestRun, Math.abs(run));
        sum = Math.fround(run * inverses[first / RUN]! + sum);
      }
      out[row * outFeatures + column] = Math.fround(sum + bias[column]!);
    }
  }
  return { out, largestRun };
}
