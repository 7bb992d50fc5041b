/** JPEG inverse transform and chroma upsampling, bit for bit as in libjpeg-turbo. */
import { Slices } from '../platform/pause.js';
import { SLICE_MS } from './decodeErrors.js';
import type { Component } from './jpegFrame.js';

/** The samples of a component, in rows. */
export interface Plane {
  readonly samples: Uint8Array;
  /** Number of samples from the start of a row to the start of the next row. */
  readonly stride: number;
  /** Size of the component in samples, without the padding of edge blocks. */
  readonly width: number;
  readonly height: number;
}

/**
 * Transforms the coefficients of a component to samples.
 *
 * @throws `signal.reason` after an abort
 */
export async function samplesOf(
  { width, height }: Component,
  blocksAcross: number,
  coefficients: Int16Array,
  quantization: Uint16Array,
  signal: AbortSignal | undefined,
): Promise<Plane> {
  const stride = 8 * blocksAcross;
  const samples = new Uint8Array(coefficients.length);
  const slices = new Slices(SLICE_MS, signal);
  for (let at = 0, block = 0; at < coefficients.length; at += 64, block++) {
    const row = Math.floor(block / blocksAcross);
    transform(coefficients, at, quantization, samples, 8 * row * stride + 8 * (block % blocksAcross), stride);
    const rest = block % 256 === 0 && slices.rest();
    if (rest) await rest;
  }
  return { samples, stride, width, height };
}

const work = new Int32Array(64);
/**
 * Constants of libjpeg's `jidctint.c`, in fixed point with 13 fractional bits. Each name is the
 * constant × 1000.
 */
const [F298, F390, F541, F765, F899, F1175, F1501, F1847, F1961, F2053, F2562, F3072] = [
  2446, 3196, 4433, 6270, 7373, 9633, 12299, 15137, 16069, 16819, 20995, 25172,
] as const;

/**
 * Computes the accurate integer inverse DCT (JDCT_ISLOW) of one block: columns, then rows. For damaged data
 * that exceed 16 bits, overflow and saturation follow libjpeg-turbo's SIMD code on x86.
 */
function transform(
  coefficients: Int16Array,
  at: number,
  quantization: Uint16Array,
  samples: Uint8Array,
  to: number,
  stride: number,
): void {
  for (let column = 0; column < 8; column++) {
    const value = (row: number): number =>
      wrapped(coefficients[at + 8 * row + column]! * quantization[8 * row + column]!);
    pass(value(0), value(1), value(2), value(3), value(4), value(5), value(6), value(7), 11);
    for (let row = 0; row < 8; row++) work[8 * row + column] = Math.max(-32768, Math.min(32767, out[row]!));
  }
  for (let row = 0; row < 8; row++) {
    const i = 8 * row;
    pass(
      work[i]!,
      work[i + 1]!,
      work[i + 2]!,
      work[i + 3]!,
      work[i + 4]!,
      work[i + 5]!,
      work[i + 6]!,
      work[i + 7]!,
      18,
    );
    for (let column = 0; column < 8; column++)
      samples[to + row * stride + column] = Math.max(0, Math.min(255, out[column]! + 128));
  }
}

const wrapped = (value: number): number => (value << 16) >> 16;

const out = new Int32Array(8);

/**
 * Computes a one-dimensional inverse DCT of eight values. Writes the result to `out`, shifted right by
 * `shift` bits with rounding.
 */
function pass(
  v0: number,
  v1: number,
  v2: number,
  v3: number,
  v4: number,
  v5: number,
  v6: number,
  v7: number,
  shift: number,
): void {
  const even = (v2 + v6) * F541;
  const [t2, t3] = [even - v6 * F1847, even + v2 * F765];
  const [t0, t1] = [wrapped(v0 + v4) << 13, wrapped(v0 - v4) << 13];
  const [t10, t13, t11, t12] = [t0 + t3, t0 - t3, t1 + t2, t1 - t2];
  const [outer, inner] = [wrapped(v7 + v3), wrapped(v5 + v1)];
  const z5 = (outer + inner) * F1175;
  const [z1, z2] = [-(v7 + v1) * F899, -(v5 + v3) * F2562];
  const [z3, z4] = [z5 - outer * F1961, z5 - inner * F390];
  const a0 = v7 * F298 + z1 + z3;
  const a1 = v5 * F2053 + z2 + z4;
  const a2 = v3 * F3072 + z2 + z3;
  const a3 = v1 * F1501 + z1 + z4;
  const half = 1 << (shift - 1);
  out[0] = (t10 + a3 + half) >> shift;
  out[7] = (t10 - a3 + half) >> shift;
  out[1] = (t11 + a2 + half) >> shift;
  out[6] = (t11 - a2 + half) >> shift;
  out[2] = (t12 + a1 + half) >> shift;
  out[5] = (t12 - a1 + half) >> shift;
  out[3] = (t13 + a0 + half) >> shift;
  out[4] = (t13 - a0 + half) >> shift;
}

/**
 * Creates a function that returns the samples of pixel row `y`. The array that this function returns is valid
 * until its next call. The result is undefined instead of a function if the sampling factors do not divide
 * each other, because libjpeg refuses such a file.
 */
export function upsampled(
  { samples, stride, width, height }: Plane,
  { across, down }: Component,
  mostAcross: number,
  mostDown: number,
): ((y: number) => Uint8Array) | undefined {
  const [timesAcross, timesDown] = [mostAcross / across, mostDown / down];
  if (!Number.isInteger(timesAcross) || !Number.isInteger(timesDown)) return undefined;
  /** Returns row `y` of the component. `y` is clamped to the first and last row. */
  const rowAt = (y: number): Uint8Array => {
    const at = Math.max(0, Math.min(height - 1, y)) * stride;
    return samples.subarray(at, at + stride);
  };
  const row = new Uint8Array(stride * timesAcross);
  if (timesAcross === 1 && timesDown === 1) return rowAt;
  // The upsampling that libjpeg calls "fancy": 3/4 of the nearer stored sample plus 1/4 of the farther one.
  const between = timesDown === 2 ? new Int32Array(stride) : undefined;
  if (timesAcross === 1 && between)
    return (y) => {
      const [near, far] = [rowAt(y >> 1), rowAt((y >> 1) + (y % 2 === 0 ? -1 : 1))];
      for (let x = 0; x < width; x++) row[x] = (3 * near[x]! + far[x]! + 1 + (y % 2)) >> 2;
      return row;
    };
  if (timesAcross === 2 && timesDown === 1 && width > 2)
    return (y) => {
      const line = rowAt(y);
      for (let x = 0; x < width; x++) {
        row[2 * x] = x === 0 ? line[0]! : (3 * line[x]! + line[x - 1]! + 1) >> 2;
        row[2 * x + 1] = x === width - 1 ? line[x]! : (3 * line[x]! + line[x + 1]! + 2) >> 2;
      }
      return row;
    };
  if (timesAcross === 2 && between && width > 2)
    return (y) => {
      const [near, far] = [rowAt(y >> 1), rowAt((y >> 1) + (y % 2 === 0 ? -1 : 1))];
      for (let x = 0; x < width; x++) between[x] = 3 * near[x]! + far[x]!;
      for (let x = 0; x < width; x++) {
        const here = between[x]!;
        row[2 * x] = x === 0 ? (4 * here + 8) >> 4 : (3 * here + between[x - 1]! + 8) >> 4;
        row[2 * x + 1] = x === width - 1 ? (4 * here + 7) >> 4 : (3 * here + between[x + 1]! + 7) >> 4;
      }
      return row;
    };
  return (y) => {
    const line = rowAt(Math.floor(y / timesDown));
    for (let x = 0; x < width; x++) row.fill(line[x]!, x * timesAcross, (x + 1) * timesAcross);
    return row;
  };
}
