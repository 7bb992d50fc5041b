/**
 * A digest of a checkpoint's matrices. It distinguishes checkpoints that differ only in their matrices, as
 * after merging an adapter. About two thousand values of every matrix are sampled, as stored in the file,
 * before rounding and packing. The hash of each value, its matrix and its position is added to two sums
 * modulo 2^32, so the result does not depend on the order or size of pieces. The digest detects mistakes,
 * not forgeries.
 */
import { bitsOf } from './turn.js';
import { fmix32, fnv1a } from '../numerics/hash.js';

/**
 * Largest number of equally long runs into which a matrix is divided. One value of each run is sampled, at a
 * hashed position.
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
   * Samples `values`, which begin at element `begin` of a matrix with our name `name` and `elements`
   * elements, row-major. Each value must be added once.
   */
  add(name: string, elements: number, values: Float32Array, begin: number): void {
    const bits = bitsOf(values);
    const seed = fnv1a(name);
    const length = Math.ceil(elements / RUNS);
    for (let run = Math.floor(begin / length); run * length < begin + bits.length; run++) {
      const key = fmix32(seed + Math.imul(run, 0x9e3779b9));
      const at = run * length + Math.floor((key >>> 0) * 2 ** -32 * length) - begin;
      if (at < 0 || at >= bits.length) continue; // the position lies in an earlier or later piece, or behind the end of the last run
      const a = fmix32(key ^ bits[at]!);
      this.#a = (this.#a + a) | 0;
      this.#b = (this.#b + fmix32(a + key)) | 0;
    }
  }

  get state(): SampleState {
    return [this.#a, this.#b];
  }

  /** The digest, 16 hexadecimal digits. */
  get digest(): string {
    return this.state.map((sum) => (sum >>> 0).toString(16).padStart(8, '0')).join('');
  }
}

/**
 * Key in the metadata (`__metadata__`) of a checkpoint whose matrices were rounded (`dinov2-webgpu convert`).
 * The value is two digests: that of the rounded matrices, and that of the original matrices.
 */
export const MATRICES = 'dinov2-webgpu matrices';

export const convertedFrom = (own: string, original: string): string => `${own} ${original}`;

/**
 * Returns the digest of the original matrices, if the metadata record it and the file's matrices have not
 * changed since; otherwise `own`.
 * @param own digest of the file's matrices
 */
export function originalOf(own: string, metadata: ReadonlyMap<string, string>): string {
  const [before, original] = metadata.get(MATRICES)?.split(' ') ?? [];
  return before === own && original !== undefined ? original : own;
}
