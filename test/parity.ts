// Helpers of the parity tests: what transformers computed (test/fixtures/reference), and the distance from it.
import { readFile } from 'node:fs/promises';
import { parseSafetensors } from '../src/checkpoint/safetensors.ts';

export const referenceFolder: URL = new URL('./fixtures/reference/', import.meta.url);

/** float32 on a CPU is 6e-6 away from the float64 reference; a GPU may round in another order. No tolerance of these tests is larger. */
export const FP32_MAX_ERROR = 2e-5;

/** The F32 tensors of a fixture, by name. */
export async function readTensors(path: string): Promise<Map<string, { shape: readonly number[]; values: Float32Array }>> {
  const bytes = new Uint8Array(await readFile(new URL(path, referenceFolder)));
  const { tensors } = parseSafetensors(bytes);
  return new Map([...tensors].map(([name, { shape, begin, end }]) => [name, { shape, values: new Float32Array(bytes.slice(begin, end).buffer) }]));
}

/** Largest distance, and where it is. NaN anywhere makes it NaN. */
export function maxError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) throw new Error(`expected ${expected.length} values, found ${found.length}`);
  let worst = 0;
  for (let i = 0; i < found.length; i++) {
    const error = Math.abs(found[i]! - expected[i]!);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

/** Smallest cosine of two rows of `columns` numbers. */
export function minCosine(found: ArrayLike<number>, expected: ArrayLike<number>, columns: number): number {
  let smallest = 1;
  for (let row = 0; row < expected.length; row += columns) {
    let [dot, a, b] = [0, 0, 0];
    for (let i = row; i < row + columns; i++) {
      dot += found[i]! * expected[i]!;
      a += found[i]! ** 2;
      b += expected[i]! ** 2;
    }
    const cosine = dot / Math.sqrt(a * b);
    if (!(cosine >= smallest)) smallest = cosine;
  }
  return smallest;
}
