/**
 * Float64 reference of shaders/linear.wgsl. The weight is a plain matrix (outFeatures, inFeatures), not packed in
 * panels.
 */
import { gelu, silu } from './activation.ts';

export interface LinearSize {
  readonly rows: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/** x · weightᵀ + bias, (rows, outFeatures). */
export function linear(
  { rows, inFeatures, outFeatures }: LinearSize,
  x: Float32Array,
  weight: Float32Array,
  bias: Float32Array,
): Float64Array {
  const out = new Float64Array(rows * outFeatures);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < outFeatures; column++) {
      let sum = 0;
      for (let k = 0; k < inFeatures; k++) {
        sum += x[row * inFeatures + k]! * weight[column * inFeatures + k]!;
      }
      out[row * outFeatures + column] = sum + bias[column]!;
    }
  }
  return out;
}

export function linearGelu(
  size: LinearSize,
  x: Float32Array,
  weight: Float32Array,
  bias: Float32Array,
): Float64Array {
  return linear(size, x, weight, bias).map(gelu);
}

/** silu(gate) · up, (rows, outFeatures / 2): the gates are the first half of the columns. */
export function linearSwiglu(
  size: LinearSize,
  x: Float32Array,
  weight: Float32Array,
  bias: Float32Array,
): Float64Array {
  const { rows, outFeatures } = size;
  const half = outFeatures / 2;
  const both = linear(size, x, weight, bias);
  const out = new Float64Array(rows * half);
  for (let row = 0; row < rows; row++) {
    for (let gate = 0; gate < half; gate++) {
      const up = gate + half;
      out[row * half + gate] = silu(both[row * outFeatures + gate]!) * both[row * outFeatures + up]!;
    }
  }
  return out;
}

export function linearScaleResidual(
  size: LinearSize,
  x: Float32Array,
  weight: Float32Array,
  bias: Float32Array,
  gamma: Float32Array,
  residual: Float32Array,
): Float64Array {
  return linear(size, x, weight, bias).map(
    (value, at) => gamma[at % size.outFeatures]! * value + residual[at]!,
  );
}
