/**
 * A digest of a checkpoint's matrices, which distinguishes checkpoints that differ in matrices only, as after
 * merging an adapter. It samples about two thousand values of every matrix, as stored in the file, before
 * rounding and packing. Each value is hashed with its matrix and position and added to two sums modulo 2^32,
 * so the order and size of pieces do not matter. It detects mistakes, not forgeries.
 */
import { bitsOf } from './turn.js';
import { fmix32, fnv1a } from '../numerics/hash.js';

/**
 * Number of equal runs that a matrix is cut into, at most. One value of each run is sampled, at a hashed
 * position.
 */
const RUNS = 2048;

export type SampleState = readonly [number, number];

export class MatrixSample {
  #a: number;
  #b: number;

  constructor([a, b]: SampleState = [0, 0]) {
    this.#a = a;
    this.#b = b;
  }

  /**
   * Samples `values`, which begin at element `begin` of a matrix (our name, its number of elements,
   * row-major). Each value is added once.
   */
  add(name: string, elements: number, values: Float32Array, begin: number): void {
    const bits = bitsOf(values);
    const seed = fnv1a(name);
    const length = Math.ceil(elements / RUNS);
    for (let run = Math.floor(begin / length); run * length < begin + bits.length; run++) {
      const key = fmix32(seed + Math.imul(run, 0x9e3779b9));
      const at = run * length + Math.floor((key >>> 0) * 2 ** -32 * length) - begin;
      if (at < 0 || at >= bits.length) continue; // of the pieces before and behind, or (of the last run) of none
      const a = fmix32(key ^ bits[at]!);
      this.#a = (this.#a + a) | 0;
      this.#b = (this.#b + fmix32(a + key)) | 0;
    }
  }

  get state(): SampleState {
    return [this.#a, this.#b];
  }

  /** 16 hexadecimal digits. */
  get digest(): string {
    return this.state.map((sum) => (sum >>> 0).toString(16).padStart(8, '0')).join('');
  }
}

/**
 * In `__metadata__` of a checkpoint whose matrices were rounded (`dinov2-webgpu convert`): the digest of its
 * own, and that of the matrices that they were.
 */
export const MATRICES = 'dinov2-webgpu matrices';

export const convertedFrom = (own: string, original: string): string => `${own} ${original}`;

/**
 * What the matrices of a file were before they were rounded, if the file says so and nothing has changed them
 * since; else what they are.
 * @param own digest of the file's matrices
 */
export function originalOf(own: string, metadata: ReadonlyMap<string, string>): string {
  const [before, original] = metadata.get(MATRICES)?.split(' ') ?? [];
  return before === own && original !== undefined ? original : own;
}
