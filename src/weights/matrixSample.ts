/**
 * What tells checkpoints apart that differ in matrices alone, as adapters merged into them do: of every
 * matrix some thousand values, as they come from the file, before they are rounded and packed. Each goes into
 * two sums modulo 2^32, with its matrix and its place mixed in: so it does not matter in what order and in
 * what pieces they come, and where a load was interrupted two numbers say all. Made against mistakes, not
 * against forgers.
 */
import { bitsOf } from './turn.js';
import { fmix32, fnv1a } from '../numerics/hash.js';

/**
 * A matrix is cut into as many runs of equal length, at most, and one value of each is looked at, at a place
 * that follows from hash.
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
   * Looks at `values`, which stand in a matrix (of our name, of so many elements, row-major) from element
   * `begin` on. Each value comes once.
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
