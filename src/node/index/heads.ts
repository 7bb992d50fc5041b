/** Checks the heads of an index's log. The folder of an index may have been copied from elsewhere. */
import { IndexError } from '../../errors.js';
import { show } from '../../platform/json.js';
import { checkId, headerOf, jsonCopy } from '../../search/checks.js';
import { encodedBytes, encodedFault } from '../../search/codec.js';
import type { IndexHeader } from '../../search/journal.js';

/** The head of the first frame. */
export interface FirstHead {
  readonly format: number;
  readonly header: IndexHeader;
  /** Random; another one says that the file was written anew. */
  readonly identity: string;
}

/** An item in the head of a frame: its lengths in the body, where its parts lie one behind the other. */
export interface Put {
  readonly id: string;
  readonly metadata: unknown;
  readonly vector: number;
  readonly patches?: { readonly rows: number; readonly cols: number; readonly bytes: number };
  readonly thumbnail?: { readonly type: string; readonly bytes: number; readonly crc: number };
}

export type Entry = { readonly put: Put } | { readonly remove: string };
export type Head = FirstHead | { readonly changes: readonly Entry[] } | { readonly state: string };

/** Bytes of an item in the body of a frame. */
export const bytesOf = ({ vector, patches, thumbnail }: Put): number =>
  vector + (patches?.bytes ?? 0) + (thumbnail?.bytes ?? 0);

const MAX_GRID = 4096;
const WHERE = 'open';

/** What a frame must be to belong to the log. */
interface Rules {
  /** The header of the index; undefined for the first frame. */
  readonly header: IndexHeader | undefined;
  /** Length of the frame's body. */
  readonly bodyBytes: number;
}

/**
 * Checks the head of a frame. Returns the head, or a text that says what is wrong with it. The `header` of a newer
 * format is not checked.
 */
export function checkedHead(head: unknown, rules: Rules): Head | string {
  try {
    const found = objectOf(head, 'a head');
    return rules.header ? laterHead(found, rules.header, rules.bodyBytes) : firstHead(found);
  } catch (error) {
    if (error instanceof IndexError) return error.message;
    throw error;
  }
}

function firstHead(head: Fields): Head {
  const format = countOf(head['format'], 'format');
  if (format > 1) return { format, header: head['header'] as IndexHeader, identity: '' };
  const { dim, metric, storage, patches, model } = objectOf(
    head['header'],
    'a header',
  ) as Partial<IndexHeader>;
  // The default values are invalid on purpose: `headerOf` must refuse a header that lacks a field.
  const header = headerOf({
    dim: dim ?? 0,
    metric: metric ?? ('' as 'dot'),
    storage: storage ?? ('' as 'f16'),
    patches: patches ?? ('' as 'none'),
    model: model ?? undefined,
  });
  return { format, header, identity: textOf(head['identity'], 'identity') };
}

function laterHead(head: Fields, header: IndexHeader, bodyBytes: number): Head {
  if ('state' in head) return { state: textOf(head['state'], 'state') };
  const list = head['changes'];
  if (!Array.isArray(list)) throw wrong('a list of changes', list);
  const changes = list.map((each: unknown): Entry => {
    const entry = objectOf(each, 'a change');
    return 'remove' in entry
      ? { remove: textOf(entry['remove'], 'remove') }
      : { put: putOf(entry['put'], header) };
  });
  const bytes = changes.reduce((sum, each) => sum + ('put' in each ? bytesOf(each.put) : 0), 0);
  if (bytes !== bodyBytes) throw wrong(`a body of ${bytes} bytes`, bodyBytes);
  return { changes };
}

function putOf(value: unknown, { dim, storage, patches: patchStorage }: IndexHeader): Put {
  const { id, metadata, vector, patches, thumbnail } = objectOf(value, 'an item');
  checkId(id, WHERE);
  const name = JSON.stringify(id);
  if (vector !== encodedBytes(dim, storage))
    throw wrong(`a vector of ${encodedBytes(dim, storage)} bytes for ${name}`, vector);
  const put: Put = { id, metadata: jsonCopy(metadata, WHERE), vector };
  return {
    ...put,
    ...(patches !== undefined && {
      patches: patchesOf(objectOf(patches, 'patches'), name, dim, patchStorage),
    }),
    ...(thumbnail !== undefined && { thumbnail: thumbnailOf(objectOf(thumbnail, 'a thumbnail')) }),
  };
}

function patchesOf(
  { rows, cols, bytes }: Fields,
  name: string,
  dim: number,
  storage: IndexHeader['patches'],
): NonNullable<Put['patches']> {
  if (storage === 'none') throw wrong(`no patches for ${name}`, bytes);
  const grid = { rows: countOf(rows, 'rows'), cols: countOf(cols, 'cols') };
  const expected = grid.rows * grid.cols * encodedBytes(dim, storage);
  if (!(
    grid.rows >= 1 &&
    grid.rows <= MAX_GRID &&
    grid.cols >= 1 &&
    grid.cols <= MAX_GRID &&
    bytes === expected
  ))
    throw wrong(`1 to ${MAX_GRID} rows and columns of patches for ${name}, and their bytes`, {
      rows,
      cols,
      bytes,
    });
  return { ...grid, bytes: expected };
}

const thumbnailOf = ({ type, bytes, crc }: Fields): NonNullable<Put['thumbnail']> => ({
  type: textOf(type, 'the type of a thumbnail'),
  bytes: countOf(bytes, 'the bytes of a thumbnail'),
  crc: countOf(crc, 'the checksum of a thumbnail'),
});

/** Says what is wrong with the values of an item; undefined if nothing is. @param body its bytes in the frame */
export function valuesFault(
  { vector, patches }: Put,
  body: Uint8Array<ArrayBuffer>,
  { dim, metric, storage, patches: patchStorage }: IndexHeader,
): string | undefined {
  const fault = encodedFault(body.subarray(0, vector), { dim, metric }, storage);
  if (fault || !patches || patchStorage === 'none') return fault;
  const size = encodedBytes(dim, patchStorage);
  for (let at = vector; at < vector + patches.bytes; at += size) {
    const inPatch = encodedFault(body.subarray(at, at + size), { dim, metric: 'cosine' }, patchStorage);
    if (inPatch) return `a patch with ${inPatch}`;
  }
  return undefined;
}

type Fields = Readonly<Record<string, unknown>>;

const wrong = (expected: string, found: unknown): IndexError =>
  new IndexError('INDEX_DAMAGED', `expected ${expected}, found ${show(found)}`);

function objectOf(value: unknown, name: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(name, value);
  return value as Fields;
}

function textOf(value: unknown, name: string): string {
  if (typeof value !== 'string') throw wrong(`${name} to be text`, value);
  return value;
}

function countOf(value: unknown, name: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw wrong(`${name} to be a whole number`, value);
  return value as number;
}
