// Seeded random numbers, and a comparison of whole tensors that reports the worst element.
import { f32ToF16 } from '../src/numerics/float16.ts';
import { f16ToF32 } from '../src/numerics/toFloat32.ts';

/** The mulberry32 generator: one seed gives the same numbers on every platform. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A uniform integer from `least` to `most`, both included. */
  integer(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  pick<T>(items: readonly T[]): T {
    return items[this.integer(0, items.length - 1)]!;
  }

  /** `count` numbers, uniform in [-halfWidth, halfWidth). */
  uniform(count: number, halfWidth = 1): Float32Array<ArrayBuffer> {
    return Float32Array.from({ length: count }, () => (2 * this.next() - 1) * halfWidth);
  }

  shuffled<T>(items: readonly T[]): T[] {
    const left = [...items];
    for (let i = left.length - 1; i > 0; i--) {
      const j = this.integer(0, i);
      [left[i], left[j]] = [left[j]!, left[i]!];
    }
    return left;
  }
}

/** Rounds values to f16 and back: the values a kernel reads from weights stored as f16. */
export function throughF16(values: Float32Array): Float32Array<ArrayBuffer> {
  const halves = new Uint16Array(values.length);
  f32ToF16(values, halves);
  const out = new Float32Array(values.length);
  f16ToF32(new Uint8Array(halves.buffer), out);
  return out;
}

/** Half a unit in the last place of a float32 near 1: the largest relative error of one rounding. */
export const ROUNDING: number = 2 ** -24;

export interface Tolerance {
  /** Largest absolute difference of two elements. */
  readonly maxAbs: number;
  /** Sum of squared differences over the sum of squares of the expected values. */
  readonly nmse: number;
}

export interface Distance extends Tolerance {
  /** Index of the element with the largest difference. */
  readonly index: number;
}

/**
 * The distance between `found` and `expected` over all elements. A NaN in either array makes the distance NaN
 * and that element the worst.
 */
export function distance(found: ArrayLike<number>, expected: ArrayLike<number>): Distance {
  if (found.length !== expected.length)
    throw new Error(`expected ${expected.length} elements, found ${found.length}`);
  let [maxAbs, index, errors, squares] = [0, 0, 0, 0];
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(found[i]! - expected[i]!);
    errors += error ** 2;
    squares += expected[i]! ** 2;
    if (error <= maxAbs) continue;
    [maxAbs, index] = [error, i];
    if (Number.isNaN(error)) break;
  }
  return { maxAbs, index, nmse: errors === 0 ? 0 : errors / squares };
}

/** Collects the worst distance of each named test with its tolerance. Call `print` in `afterAll`. */
export class WorstDistances {
  readonly #worst = new Map<string, { far: Distance; tolerance: Tolerance }>();

  note(name: string, far: Distance, tolerance: Tolerance): void {
    const known = this.#worst.get(name);
    if (!known || far.maxAbs / tolerance.maxAbs > known.far.maxAbs / known.tolerance.maxAbs)
      this.#worst.set(name, { far, tolerance });
  }

  print(): void {
    const lines = [...this.#worst].map(
      ([name, { far, tolerance }]) =>
        `${name.padEnd(34)} max ${far.maxAbs.toExponential(1)} of ${tolerance.maxAbs.toExponential(1)}, NMSE ${far.nmse.toExponential(1)} of ${tolerance.nmse.toExponential(1)}`,
    );
    console.log(lines.join('\n'));
  }
}

/**
 * Checks that `found` is within `tolerance` of `expected`.
 * @throws Error naming the worst element if it is not
 */
export function expectClose(
  where: string,
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: Tolerance,
): Distance {
  const far = distance(found, expected);
  if (far.maxAbs <= tolerance.maxAbs && far.nmse <= tolerance.nmse) return far;
  const { index, maxAbs, nmse } = far;
  throw new Error(
    `${where}: expected ${expected[index]} at element ${index} of ${expected.length}, found ${found[index]}: ` +
      `${maxAbs.toExponential(2)} apart (allowed ${tolerance.maxAbs.toExponential(2)}), NMSE ${nmse.toExponential(2)} (allowed ${tolerance.nmse.toExponential(2)})`,
  );
}
