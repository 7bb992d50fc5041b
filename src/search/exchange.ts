/**
 * Exports and imports an index as a safetensors file.
 *
 *   __metadata__  format 'dinov2-webgpu/index', version '1', or '2' for a file with thumbnails, index: the
 *                 header as JSON (dim, metric, storage, patches, model)
 *   vectors       (count, dim): F32, F16 or I8, as stored
 *   scales        (count) F32, for int8 only
 *   items         U8: a JSON array of [id, metadata] in UTF-8, in the order of the vectors
 *   grids         (count, 2) U32, if the index stores patches: rows and columns of patches, 0 if an
 *                 item has none
 *   patches       (patches of all items, dim): F16 or I8
 *   patch_scales  (patches of all items) F32, for int8 only
 *   thumbnails    version 2 only: the tensors that exchangeThumbnails.ts describes
 *
 * An imported file is not trusted: all of its contents are checked before they are used.
 */
import { encodeSafetensorsHeader } from '../safetensors/writer.js';
import type { SafetensorsHeader, TensorSpec } from '../safetensors/format.js';
import { headerLength, parseSafetensorsHeader } from '../safetensors/reader.js';
import { IndexError, SafetensorsError } from '../errors.js';
import { BlobWriter } from './blobWriter.js';
import { checkId, headerOf, jsonCopy } from './checks.js';
import { encodedBytes, encodedFault } from './codec.js';
import { readThumbnails, THUMBNAIL_TENSORS, writeThumbnails } from './exchangeThumbnails.js';
import type { Items } from './items.js';
import type { EncodedPatches, IndexHeader, StoredItem, VectorStorage } from './journal.js';
import { parseJsonText, show } from '../platform/json.js';
import { Slices } from '../platform/pause.js';

const FORMAT = 'dinov2-webgpu/index';
/**
 * Versions of the format. Files without thumbnails are still written as version 1, which older versions of
 * the library read. An older library refuses version 2 with INDEX_NEWER.
 */
const [VERSION, WITH_THUMBNAILS] = ['1', '2'];
const WHERE = 'import';

const SLICE_MS = 8;

/** Collects encoded vectors, and separates their numbers from the int8 scales. */
class VectorWriter {
  readonly numbers: BlobWriter = new BlobWriter();
  readonly scales: BlobWriter = new BlobWriter();
  readonly #numberBytes: number;

  constructor(dim: number, storage: VectorStorage) {
    this.#numberBytes = storage === 'int8' ? dim : encodedBytes(dim, storage);
  }

  add(encoded: Uint8Array<ArrayBuffer>): void {
    this.numbers.add(encoded.subarray(0, this.#numberBytes));
    this.scales.add(encoded.subarray(this.#numberBytes));
  }
}

const DTYPES = { f32: 'F32', f16: 'F16', int8: 'I8' } as const;

/**
 * Exports items as one safetensors file. The file contains the items at the moment of the call. Patches may
 * be gigabytes, so the loop that copies them yields to the event loop at intervals.
 * @param rows row numbers of the items to export, in the order of the file
 * @param thumbnail reads the thumbnail of an item; undefined to export no thumbnails
 */
export async function toSafetensors(
  items: Items,
  rows: readonly number[],
  header: IndexHeader,
  thumbnail: ((id: string) => Promise<Blob | undefined>) | undefined,
): Promise<Blob> {
  const { dim, storage, patches: patchStorage } = header;
  const ids = rows.map((row) => items.ids[row]!);
  const list = new TextEncoder().encode(
    JSON.stringify(rows.map((row) => [items.ids[row], items.metadata[row]])),
  );
  const vectors = new VectorWriter(dim, storage);
  for (const row of rows) vectors.add(items.vectors.encoded(row));
  const rowPatches = rows.map((row) => items.patches[row]);
  const tensors = new Map<string, { spec: TensorSpec; parts: readonly BlobPart[] }>();
  const add = (
    name: string,
    dtype: TensorSpec['dtype'],
    shape: readonly number[],
    parts: readonly BlobPart[],
  ): void => void tensors.set(name, { spec: { dtype, shape }, parts });
  add('vectors', DTYPES[storage], [rows.length, dim], vectors.numbers.parts());
  if (storage === 'int8') add('scales', 'F32', [rows.length], vectors.scales.parts());
  add('items', 'U8', [list.length], [list]);
  if (patchStorage !== 'none') {
    const size = encodedBytes(dim, patchStorage);
    const patches = new VectorWriter(dim, patchStorage);
    const grids = new Uint32Array(2 * rows.length);
    const slices = new Slices(SLICE_MS);
    let count = 0;
    for (const [i, each] of rowPatches.entries()) {
      if (!each) continue;
      grids.set([each.rows, each.cols], 2 * i);
      for (let at = 0; at < each.data.length; at += size, count++)
        patches.add(each.data.subarray(at, at + size));
      await slices.rest();
    }
    add('grids', 'U32', [rows.length, 2], [grids]);
    add('patches', DTYPES[patchStorage], [count, dim], patches.numbers.parts());
    if (patchStorage === 'int8') add('patch_scales', 'F32', [count], patches.scales.parts());
  }
  const pictures = thumbnail && (await writeThumbnails(ids, thumbnail));
  for (const [name, { dtype, shape, parts }] of pictures ?? []) add(name, dtype, shape, parts);
  const metadata: [string, string][] = [
    ['format', FORMAT],
    ['version', pictures ? WITH_THUMBNAILS! : VERSION!],
    ['index', JSON.stringify(header)],
  ];
  const written = encodeSafetensorsHeader(
    [...tensors].map(([name, { spec }]) => [name, spec] as const),
    metadata,
  );
  const inOrder = [...written.header.tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  return new Blob([written.bytes, ...inOrder.flatMap(([name]) => tensors.get(name)!.parts)], {
    type: 'application/octet-stream',
  });
}

const fileError = (expected: string, found: string, cause?: unknown): IndexError =>
  new IndexError(
    'INDEX_FILE',
    `${WHERE}: expected ${expected}, found ${found}. The file is damaged or is not an exported index. Export the index again.`,
    { cause },
  );

/**
 * Reads a safetensors file that `toSafetensors` wrote, or any other file in the same format.
 * @throws IndexError INDEX_FILE, INDEX_NEWER, INDEX_VECTOR, INDEX_PATCHES, INDEX_ID, INDEX_DUPLICATE_ID
 */
export async function fromSafetensors(blob: Blob): Promise<{ header: IndexHeader; items: StoredItem[] }> {
  const file = await headerOfFile(blob);
  const header = indexHeader(file.metadata);
  const { dim, storage, patches: patchStorage } = header;
  const hasThumbnails = file.metadata.get('version') === WITH_THUMBNAILS;
  const names = [
    'items',
    'vectors',
    ...(hasThumbnails ? THUMBNAIL_TENSORS : []),
    ...(storage === 'int8' ? ['scales'] : []),
    ...(patchStorage === 'none' ? [] : ['grids', 'patches']),
    ...(patchStorage === 'int8' ? ['patch_scales'] : []),
  ].sort();
  const found = [...file.tensors.keys()].sort();
  if (names.join() !== found.join())
    throw fileError(
      `the tensors ${names.join(', ')}`,
      found.map((name) => JSON.stringify(name.slice(0, 80))).join(', ') || 'none',
    );
  const count = file.tensors.get('vectors')!.shape[0] ?? 0;
  const read = async (
    name: string,
    dtype: string,
    shape: readonly number[],
  ): Promise<Uint8Array<ArrayBuffer>> => {
    const tensor = file.tensors.get(name)!;
    if (tensor.dtype !== dtype || tensor.shape.join() !== shape.join())
      throw fileError(
        `${name} of type ${dtype} and shape (${shape.join(', ')})`,
        `${tensor.dtype} and (${tensor.shape.join(', ')})`,
      );
    return new Uint8Array(await blob.slice(tensor.begin, tensor.end).arrayBuffer());
  };
  const list = itemList(await read('items', 'U8', file.tensors.get('items')!.shape.slice(0, 1)), count);
  const vectors = joined(
    await read('vectors', storage === 'f32' ? 'F32' : storage === 'f16' ? 'F16' : 'I8', [count, dim]),
    storage === 'int8' ? await read('scales', 'F32', [count]) : undefined,
    count,
  );
  const grids =
    patchStorage === 'none' ? undefined : new Uint32Array((await read('grids', 'U32', [count, 2])).buffer);
  const patchesOf = grids && (await patchReader(grids, header, read));
  const pictures = hasThumbnails ? await readThumbnails(count, file, blob, read, fileError) : [];
  const items = list.map(([id, metadata], i): StoredItem => {
    const vector = vectors(i);
    const fault = encodedFault(vector, header, storage);
    if (fault)
      throw new IndexError(
        'INDEX_VECTOR',
        `${WHERE} ${JSON.stringify(id)}: expected a valid encoded vector, found ${fault}. Export the index again.`,
      );
    const patches = patchesOf?.(i);
    const thumbnail = pictures[i];
    return { id, vector, metadata, ...(patches && { patches }), ...(thumbnail && { thumbnail }) };
  });
  return { header, items };
}

async function headerOfFile(blob: Blob): Promise<SafetensorsHeader> {
  const options = { name: WHERE, fileBytes: blob.size };
  try {
    const first = new Uint8Array(await blob.slice(0, 8).arrayBuffer());
    const bytes = new Uint8Array(await blob.slice(0, 8 + headerLength(first, options)).arrayBuffer());
    return parseSafetensorsHeader(bytes, options);
  } catch (error) {
    if (error instanceof SafetensorsError)
      throw new IndexError('INDEX_FILE', error.message, { cause: error });
    throw error;
  }
}

function indexHeader(metadata: ReadonlyMap<string, string>): IndexHeader {
  const [format, version] = [metadata.get('format'), metadata.get('version')];
  if (format !== FORMAT)
    throw fileError(`the format ${FORMAT}`, JSON.stringify(format?.slice(0, 80) ?? 'none'));
  if (version !== VERSION && version !== WITH_THUMBNAILS) {
    if (/^[1-9]\d{0,8}$/.test(version ?? ''))
      throw new IndexError(
        'INDEX_NEWER',
        `${WHERE}: expected version ${VERSION} or ${WITH_THUMBNAILS} of the format, found ${version}. A newer version of the library wrote the file. Update the library.`,
      );
    throw fileError(
      `version ${VERSION} or ${WITH_THUMBNAILS}`,
      JSON.stringify(version?.slice(0, 80) ?? 'none'),
    );
  }
  let header: Partial<IndexHeader>;
  try {
    header = parseJsonText(metadata.get('index') ?? '') as Partial<IndexHeader>;
  } catch (cause) {
    throw fileError('the header of an index as JSON', String(cause), cause);
  }
  if (typeof header !== 'object' || header === null)
    throw fileError('the header of an index', JSON.stringify(header));
  try {
    // The default values here are invalid on purpose: `headerOf` must refuse a header that lacks a field, not
    // fill in its own default.
    return headerOf({
      dim: header.dim ?? 0,
      metric: header.metric ?? ('' as 'dot'),
      storage: header.storage ?? ('' as 'f16'),
      patches: header.patches ?? ('' as 'none'),
      model: header.model ?? undefined,
    });
  } catch (cause) {
    throw fileError('the header of an index', cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function itemList(bytes: Uint8Array<ArrayBuffer>, count: number): [string, unknown][] {
  let list: unknown;
  try {
    list = parseJsonText(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw fileError('items as JSON in UTF-8', String(cause), cause);
  }
  if (!Array.isArray(list) || list.length !== count)
    throw fileError(`a list of ${count} items`, Array.isArray(list) ? `${list.length}` : typeof list);
  const seen = new Set<string>();
  return list.map((item: unknown, i) => {
    if (!Array.isArray(item) || item.length !== 2)
      throw fileError(`[id, metadata] for item ${i}`, show(item));
    const [id, metadata] = item as [unknown, unknown];
    checkId(id, `${WHERE}, item ${i}`);
    if (seen.has(id))
      throw new IndexError(
        'INDEX_DUPLICATE_ID',
        `${WHERE}: expected unique ids, found ${JSON.stringify(id)} twice. Export the index again.`,
      );
    seen.add(id);
    return [id, jsonCopy(metadata, WHERE)];
  });
}

/** Returns a function that joins the numbers of a vector and its int8 scale into one encoded vector. */
function joined(
  numbers: Uint8Array<ArrayBuffer>,
  scales: Uint8Array<ArrayBuffer> | undefined,
  count: number,
): (i: number) => Uint8Array<ArrayBuffer> {
  const size = count === 0 ? 0 : numbers.length / count;
  if (!scales) return (i) => numbers.slice(i * size, (i + 1) * size);
  return (i) => {
    const encoded = new Uint8Array(size + 4);
    encoded.set(numbers.subarray(i * size, (i + 1) * size));
    encoded.set(scales.subarray(4 * i, 4 * i + 4), size);
    return encoded;
  };
}

/** Returns a function that reads the patches of an item from the file. @throws IndexError INDEX_PATCHES */
async function patchReader(
  grids: Uint32Array,
  { dim, patches: storage }: IndexHeader,
  read: (name: string, dtype: string, shape: readonly number[]) => Promise<Uint8Array<ArrayBuffer>>,
): Promise<(item: number) => EncodedPatches | undefined> {
  let total = 0;
  const begins = Array.from({ length: grids.length / 2 }, (_, i) => {
    const begin = total;
    const [rows, cols] = [grids[2 * i]!, grids[2 * i + 1]!];
    if (rows > 4096 || cols > 4096 || (rows === 0) !== (cols === 0))
      throw new IndexError(
        'INDEX_PATCHES',
        `${WHERE}, item ${i}: expected a grid of 0 × 0 or of 1 to 4096 patches a side, found ${rows} × ${cols}. Export the index again.`,
      );
    total += rows * cols;
    return begin;
  });
  const numbers = await read('patches', storage === 'f16' ? 'F16' : 'I8', [total, dim]);
  const one = joined(
    numbers,
    storage === 'int8' ? await read('patch_scales', 'F32', [total]) : undefined,
    total,
  );
  const kind = storage === 'f16' ? 'f16' : 'int8';
  return (i) => {
    const [rows, cols] = [grids[2 * i]!, grids[2 * i + 1]!];
    if (rows === 0) return undefined;
    const size = encodedBytes(dim, kind);
    const data = new Uint8Array(rows * cols * size);
    for (let patch = 0; patch < rows * cols; patch++) {
      const encoded = one(begins[i]! + patch);
      const fault = encodedFault(encoded, { dim, metric: 'cosine' }, kind);
      if (fault)
        throw new IndexError(
          'INDEX_PATCHES',
          `${WHERE}, item ${i}, patch ${patch}: expected a valid encoded patch, found ${fault}. Export the index again.`,
        );
      data.set(encoded, patch * size);
    }
    return { rows, cols, data };
  };
}
