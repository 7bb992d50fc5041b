/** Exports and imports the vectors of an index as a NumPy file, and their ids as JSON. */
import { IndexError } from '../errors.js';
import { encodeNpy, decodeNpy } from '../tools/npy.js';
import type { Items } from './items.js';
import type { IndexHeader } from './journal.js';

/**
 * Exports the vectors as a NumPy file, float32 (count, dim), and the ids as a JSON array in the same order.
 */
export function toNpy(items: Items): { npy: Blob; ids: Blob } {
  const { dim } = items.vectors;
  const rows = [...items.rowOf];
  const values = new Float32Array(rows.length * dim);
  for (const [i, [, row]] of rows.entries())
    items.vectors.decode(row, values.subarray(i * dim, (i + 1) * dim));
  return {
    npy: new Blob([encodeNpy(values, rows.length, dim)], { type: 'application/octet-stream' }),
    ids: new Blob([JSON.stringify(rows.map(([id]) => id))], { type: 'application/json' }),
  };
}

/**
 * Reads vectors from a NumPy file, float32 (count, dim), and their ids from a JSON array.
 * @throws IndexError INDEX_FILE, INDEX_HEADER
 */
export async function fromNpy(
  npy: Blob,
  ids: Blob,
  { dim }: IndexHeader,
): Promise<{ id: string; vector: Float32Array }[]> {
  const names: unknown = parsed(await ids.text());
  let decoded: ReturnType<typeof decodeNpy>;
  try {
    decoded = decodeNpy(new Uint8Array(await npy.arrayBuffer()));
  } catch (error) {
    if (error instanceof RangeError)
      throw new IndexError(
        'INDEX_FILE',
        `importNpy: ${error.message}. Save the vectors with numpy.save as float32.`,
        {
          cause: error,
        },
      );
    throw error;
  }
  const { values, rows, columns } = decoded;
  if (columns !== dim)
    throw new IndexError(
      'INDEX_HEADER',
      `importNpy: expected vectors of ${dim} numbers, found ${columns}. Import the vectors into an index with dim ${columns}.`,
    );
  if (!Array.isArray(names) || names.length !== rows || !names.every((id) => typeof id === 'string')) {
    throw new IndexError(
      'INDEX_FILE',
      `importNpy: expected a JSON array of ${rows} ids, one for each vector, found ${Array.isArray(names) ? `${names.length} values` : typeof names}. Save the ids as a JSON array of strings.`,
    );
  }
  return names.map((id: string, i) => ({ id, vector: values.subarray(i * dim, (i + 1) * dim) }));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // the text is not JSON: the caller throws an error if it gets undefined
  }
}
