/**
 * The database rows and their checksums.
 *
 * Each index has one IndexedDB database with these object stores:
 *
 *   header      the `IndexHeader`, and where the files are
 *   state       the last commit, and the sum of the checksums of item and removal rows
 *   items       by sequence number (the order in which items were put): id, metadata, position of the record
 *   removals    by sequence number: ids that were removed, for tabs that have not seen the removal yet
 *   segments    by name: how much of each file is in use
 *   thumbnails  by item id
 *   records     by key: values of `setState`
 *
 * Each index also has one folder with segments: files that are written once and never changed. A segment
 * contains records one after the other, then a table of contents: a copy of the database rows of these
 * records (`contents.ts`). A record is an encoded vector followed by the encoded patches of an item. The
 * length and the checksum of a record are in the database row of its item. The field `seal` is the checksum
 * of a row.
 */
import type { DBSchema } from 'idb';
import type { IndexHeader, StoredItem } from '../journal.js';
import { crc32c } from './crc32c.js';

/** Version of the storage format, and of the database. */
export const FORMAT = 1;

/** Database row with the header of the index and the place of its files. */
export interface HeaderRow {
  readonly format: number;
  /**
   * The `IndexHeader` as JSON. Its CRC-32C is the initial value of the checksums of all other rows, so that a
   * row of one index is not valid in a different index.
   */
  readonly header: string;
  /** Kind of storage that contains the segments. */
  readonly store: 'opfs' | 'cache-api' | 'folder';
  /** Random id of the index. A later index of the same name has a different id. */
  readonly identity: string;
  /** True once `deleteIndex` has begun. */
  readonly deleting: boolean;
  readonly seal: number;
}

/** Database row that describes the state after the last commit. */
export interface StateRow {
  /** Number of commits, including compactions. */
  readonly generation: number;
  /** Sequence number of the last change. */
  readonly last: number;
  /** A sequence number: all removals up to this number have been deleted from the object store `removals`. */
  readonly floor: number;
  /** Number of rows in `items`. */
  readonly items: number;
  /** Number of rows in `removals`. */
  readonly removals: number;
  /**
   * Sum of the checksums (`seal`) of all item and removal rows, modulo 2^32. It detects missing and outdated
   * rows.
   */
  readonly sum: number;
  /**
   * Random id of the last commit. If a transaction is repeated, this id shows whether the first attempt was
   * committed.
   */
  readonly token: string;
  readonly seal: number;
}

/** Database row of an item. */
export interface ItemRow {
  readonly sequence: number;
  readonly id: string;
  /** Name of the segment that contains the item's record. */
  readonly segment: string;
  /** Position of the record's first byte in the segment. */
  readonly offset: number;
  readonly vectorBytes: number;
  readonly patches: { readonly rows: number; readonly cols: number; readonly bytes: number } | undefined;
  /** CRC-32C of the record. */
  readonly checksum: number;
  /** Metadata as JSON. */
  readonly metadata: string | undefined;
  /** CRC-32C of the thumbnail; undefined if the item has none. */
  readonly thumbnail: number | undefined;
  readonly seal: number;
}

/** Database row that records the removal of an item. */
export interface RemovalRow {
  readonly sequence: number;
  readonly id: string;
  readonly seal: number;
}

/** Database row of a segment: how much of it is in use. */
export interface SegmentRow {
  readonly name: string;
  /** Size in bytes of all records in the segment. */
  readonly bytes: number;
  /** Size in bytes of the file, including the table of contents. */
  readonly size: number;
  /** Number of records in use. All other records belong to items that were replaced or removed. */
  readonly items: number;
  /** Size in bytes of the records in use. */
  readonly liveBytes: number;
  /**
   * Number of item removals that the table of contents records. A file that records removals is kept even if
   * none of its records is in use.
   */
  readonly removals: number;
  /**
   * Lower bound of the sequence numbers of the records in use. Records in other segments may have sequence
   * numbers between `first` and `last`.
   */
  readonly first: number;
  /** Upper bound of the sequence numbers of the records in use. */
  readonly last: number;
  readonly seal: number;
}

/** Database row of a thumbnail. */
export interface ThumbnailRow {
  /** Media type of the thumbnail. */
  readonly type: string;
  readonly bytes: ArrayBuffer;
}

/** The object stores of the database. */
export interface Schema extends DBSchema {
  header: { key: string; value: HeaderRow };
  state: { key: string; value: StateRow };
  items: { key: number; value: ItemRow };
  removals: { key: number; value: RemovalRow };
  segments: { key: string; value: SegmentRow };
  thumbnails: { key: string; value: ThumbnailRow };
  records: { key: string; value: unknown };
}

/** The key of the only row in `header`, and of the only row in `state`. */
export const ONLY = 'only';

const utf8 = new TextEncoder();
/**
 * Returns the checksum of the fields of a row. The fields are encoded as JSON, which escapes lone surrogates;
 * UTF-8 alone would encode all lone surrogates as the same bytes.
 */
const checksumOf = (fields: readonly unknown[], before: number): number =>
  crc32c(utf8.encode(JSON.stringify(fields)), before);

/** A database row before its checksum (`seal`) is added. */
export type Unsealed<Row> = Omit<Row, 'seal'>;

/** Adds checksums (`seal`) to the rows of one index, and checks them. */
export class Seals {
  readonly #salt: number;

  /** @param header the `IndexHeader` as JSON, as the database stores it */
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

/** Returns the header row with its checksum added. */
export const sealHeader = (row: Unsealed<HeaderRow>): HeaderRow => ({
  ...row,
  seal: checksumOf(headerFields(row), 0),
});
/** True if the checksum of a header row matches. */
export const isHeader = (row: HeaderRow | undefined): row is HeaderRow =>
  row !== undefined && checksumOf(headerFields(row), 0) === row.seal;

/** Encodes the `IndexHeader` as the database stores it: JSON with the fields in a fixed order. */
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

/** Decodes the text that `headerText` returns. */
export function parseHeader(text: string): IndexHeader {
  const { model, ...rest } = JSON.parse(text) as IndexHeader;
  return { ...rest, model };
}

/** Adds a row's checksum to a sum of checksums, modulo 2^32. */
export const addSeal = (sum: number, seal: number): number => (sum + seal) % 2 ** 32;
/** Subtracts a row's checksum from a sum of checksums, modulo 2^32. */
export const subtractSeal = (sum: number, seal: number): number => (sum - seal + 2 ** 32) % 2 ** 32;

/** Returns the size in bytes of an item's record. */
export const recordBytes = ({ vectorBytes, patches }: Pick<ItemRow, 'vectorBytes' | 'patches'>): number =>
  vectorBytes + (patches?.bytes ?? 0);
/** Returns the CRC-32C of a thumbnail's media type and bytes. */
export const thumbnailChecksum = ({ type, bytes }: ThumbnailRow): number =>
  crc32c(new Uint8Array(bytes), crc32c(utf8.encode(type)));

/**
 * Makes an item from its database row and its record.
 * @returns undefined if the record does not match the checksum in the row
 */
export function readRecord(row: ItemRow, segment: Uint8Array<ArrayBuffer>): StoredItem | undefined {
  const { offset, vectorBytes, patches } = row;
  const end = offset + recordBytes(row);
  if (end > segment.length || crc32c(segment.subarray(offset, end)) !== row.checksum) return undefined;
  const vector = segment.slice(offset, offset + vectorBytes); // a copy, so that the segment can be freed
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
