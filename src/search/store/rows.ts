/**
 * What lies where. In IndexedDB, one database an index:
 *
 *     meta header: what the index is. state: the last commit, and a sum over all rows items by sequence, the
 *     order in which items were put: id, metadata, and where in which segment the vector lies removals by
 *     sequence: ids that were removed, for tabs that do not know yet segments by name: what of each file is
 *     in use thumbnails by id records by key: what callers keep beside the items
 *
 * In the file system of the origin, one folder an index: segments, files that are written once and never
 * changed. A record is an encoded vector, and the encoded patches behind it; records stand one behind the
 * other, and behind them a copy of their rows. A record is what its row says it is: length and checksum stand
 * in the row, and the row is sealed with a checksum of its own.
 */
import type { DBSchema } from 'idb';
import type { IndexHeader, StoredItem } from '../journal.js';
import { crc32c } from './crc32c.js';

/** Of all that is described above; the version of the database. */
export const FORMAT = 1;

/** In the header's row; what else it says is in its text. */
export interface HeaderRow {
  readonly format: number;
  /**
   * The IndexHeader as JSON. Its checksum goes into every other seal: rows of one index are none of another.
   */
  readonly header: string;
  readonly store: 'opfs' | 'cache-api';
  /** Tells this index from one that had the same name before. */
  readonly identity: string;
  /** What is left to do of a deletion that was interrupted. */
  readonly deleting: boolean;
  readonly seal: number;
}

export interface StateRow {
  /** Counts commits, compactions among them. */
  readonly generation: number;
  /** The sequence of the last change. */
  readonly last: number;
  /** Removals up to this sequence are no longer kept one by one. */
  readonly floor: number;
  readonly items: number;
  readonly removals: number;
  /** Of the seals of items and removals, modulo 2^32: no row can be absent or old unnoticed. */
  readonly sum: number;
  /** By chance: whether a commit whose answer was lost is in. */
  readonly token: string;
  readonly seal: number;
}

export interface ItemRow {
  readonly sequence: number;
  readonly id: string;
  readonly segment: string;
  readonly offset: number;
  readonly vectorBytes: number;
  readonly patches: { readonly rows: number; readonly cols: number; readonly bytes: number } | undefined;
  /** Of the record. */
  readonly checksum: number;
  /** As JSON. */
  readonly metadata: string | undefined;
  /** Its checksum. */
  readonly thumbnail: number | undefined;
  readonly seal: number;
}

export interface RemovalRow {
  readonly sequence: number;
  readonly id: string;
  readonly seal: number;
}

export interface SegmentRow {
  readonly name: string;
  /** Of the records in it. */
  readonly bytes: number;
  /** Of the file: behind the records it says what they are (contents.ts). */
  readonly size: number;
  /** Items whose records are in it, and their bytes: the rest was replaced or removed. */
  readonly items: number;
  readonly liveBytes: number;
  /** Removals that it tells of: a file that does is kept without any item. */
  readonly removals: number;
  /** Between these sequences, both included, are the items in it; others may be too. */
  readonly first: number;
  readonly last: number;
  readonly seal: number;
}

export interface ThumbnailRow {
  readonly type: string;
  readonly bytes: ArrayBuffer;
}

export interface Schema extends DBSchema {
  header: { key: string; value: HeaderRow };
  state: { key: string; value: StateRow };
  items: { key: number; value: ItemRow };
  removals: { key: number; value: RemovalRow };
  segments: { key: string; value: SegmentRow };
  thumbnails: { key: string; value: ThumbnailRow };
  records: { key: string; value: unknown };
}

/** The one key in `header`, and in `state`. */
export const ONLY = 'only';

const utf8 = new TextEncoder();
/** JSON escapes lone surrogates, which UTF-8 would make equal. */
const checksumOf = (fields: readonly unknown[], before: number): number =>
  crc32c(utf8.encode(JSON.stringify(fields)), before);

export type Unsealed<Row> = Omit<Row, 'seal'>;

/** Seals rows of one index. */
export class Seals {
  readonly #salt: number;

  /** @param header as its row has it */
  constructor(header: string) {
    this.#salt = crc32c(utf8.encode(header));
  }

  item(row: Unsealed<ItemRow>): ItemRow {
    return { ...row, seal: checksumOf(itemFields(row), this.#salt) };
  }

  removal(row: Unsealed<RemovalRow>): RemovalRow {
    return { ...row, seal: checksumOf(removalFields(row), this.#salt) };
  }

  segment(row: Unsealed<SegmentRow>): SegmentRow {
    return { ...row, seal: checksumOf(segmentFields(row), this.#salt) };
  }

  state(row: Unsealed<StateRow>): StateRow {
    return { ...row, seal: checksumOf(stateFields(row), this.#salt) };
  }

  isItem(row: ItemRow): boolean {
    return checksumOf(itemFields(row), this.#salt) === row.seal;
  }

  isRemoval(row: RemovalRow): boolean {
    return checksumOf(removalFields(row), this.#salt) === row.seal;
  }

  isSegment(row: SegmentRow): boolean {
    return checksumOf(segmentFields(row), this.#salt) === row.seal;
  }

  isState(row: StateRow | undefined): row is StateRow {
    return row !== undefined && checksumOf(stateFields(row), this.#salt) === row.seal;
  }
}

const itemFields = ({
  sequence,
  id,
  segment,
  offset,
  vectorBytes,
  patches,
  checksum,
  metadata,
  thumbnail,
}: Unsealed<ItemRow>): unknown[] => [
  'item',
  sequence,
  id,
  segment,
  offset,
  vectorBytes,
  patches?.rows,
  patches?.cols,
  patches?.bytes,
  checksum,
  metadata,
  thumbnail,
];
const removalFields = ({ sequence, id }: Unsealed<RemovalRow>): unknown[] => ['removal', sequence, id];
const segmentFields = ({
  name,
  bytes,
  size,
  items,
  liveBytes,
  removals,
  first,
  last,
}: Unsealed<SegmentRow>): unknown[] => [
  'segment',
  name,
  bytes,
  size,
  items,
  liveBytes,
  removals,
  first,
  last,
];
const stateFields = ({
  generation,
  last,
  floor,
  items,
  removals,
  sum,
  token,
}: Unsealed<StateRow>): unknown[] => ['state', generation, last, floor, items, removals, sum, token];
const headerFields = ({ format, header, store, identity, deleting }: Unsealed<HeaderRow>): unknown[] => [
  'header',
  format,
  header,
  store,
  identity,
  deleting,
];

export const sealHeader = (row: Unsealed<HeaderRow>): HeaderRow => ({
  ...row,
  seal: checksumOf(headerFields(row), 0),
});
export const isHeader = (row: HeaderRow | undefined): row is HeaderRow =>
  row !== undefined && checksumOf(headerFields(row), 0) === row.seal;

/** The header as its row has it: fields in one order, whatever the caller's. */
export function headerText({ format, dim, metric, storage, patches, model }: IndexHeader): string {
  return JSON.stringify({
    format,
    dim,
    metric,
    storage,
    patches,
    model: model && { id: model.id, fingerprint: model.fingerprint, preprocessing: model.preprocessing },
  });
}

export function parseHeader(text: string): IndexHeader {
  const { model, ...rest } = JSON.parse(text) as IndexHeader;
  return { ...rest, model };
}

/** Sums of seals, modulo 2^32. */
export const addSeal = (sum: number, seal: number): number => (sum + seal) % 2 ** 32;
export const takeSeal = (sum: number, seal: number): number => (sum - seal + 2 ** 32) % 2 ** 32;

export const recordBytes = ({ vectorBytes, patches }: Pick<ItemRow, 'vectorBytes' | 'patches'>): number =>
  vectorBytes + (patches?.bytes ?? 0);
export const thumbnailChecksum = ({ type, bytes }: ThumbnailRow): number =>
  crc32c(new Uint8Array(bytes), crc32c(utf8.encode(type)));

/**
 * An item out of its row and its record.
 * @returns undefined where the record is not the one that was written
 */
export function readRecord(row: ItemRow, segment: Uint8Array<ArrayBuffer>): StoredItem | undefined {
  const { offset, vectorBytes, patches } = row;
  const end = offset + recordBytes(row);
  if (end > segment.length || crc32c(segment.subarray(offset, end)) !== row.checksum) return undefined;
  const vector = segment.slice(offset, offset + vectorBytes); // a copy: the segment shall go
  const data = patches && {
    rows: patches.rows,
    cols: patches.cols,
    data: segment.slice(offset + vectorBytes, end),
  };
  return {
    id: row.id,
    vector,
    metadata: row.metadata === undefined ? undefined : (JSON.parse(row.metadata) as unknown),
    ...(data && { patches: data }),
  };
}
