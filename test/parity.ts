// Reads the reference vectors computed with transformers (test/fixtures/reference) in Node.
import { readFile } from 'node:fs/promises';
import { parseSafetensors } from '../src/safetensors.ts';

export * from './tolerance.ts';

export const referenceFolder: URL = new URL('./fixtures/reference/', import.meta.url);

/** The F32 tensors of a fixture, by name. */
export async function readTensors(
  path: string,
): Promise<Map<string, { shape: readonly number[]; values: Float32Array }>> {
  const bytes = new Uint8Array(await readFile(new URL(path, referenceFolder)));
  const { tensors } = parseSafetensors(bytes);
  return new Map(
    [...tensors].map(([name, { shape, begin, end }]) => [
      name,
      { shape, values: new Float32Array(bytes.slice(begin, end).buffer) },
    ]),
  );
}
