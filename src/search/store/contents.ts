/**
 * The table of contents at the end of a segment, from which a lost database is rebuilt. Chromium deletes all
 * databases of an origin if it finds their files corrupted. Killing the browser process during a write
 * corrupts them now and then (measured: about once in 100 kills). Layout of a segment:
 *
 *   records | JSON of `Contents` | bytes of the JSON (u32) | its CRC-32C (u32) | magic number (u32)
 */
import { crc32c } from './crc32c.js';
import type { ItemRow, RemovalRow } from './rows.js';

/** The table of contents of a segment. */
export interface Contents {
  /** The `IndexHeader` as JSON, as the database stores it. */
  readonly header: string;
  /** Sequence number of the last change that was committed before this segment was written. */
  readonly settled: number;
  /** Random id of the commit that wrote the segment. All segments of one commit have the same id. */
  readonly commit: string;
  /**
   * Number of segments that the commit writes. If fewer segments with the id of this commit exist, the commit
   * was interrupted.
   */
  readonly parts: number;
  /** Database rows of the items whose records are in the segment. */
  readonly items: readonly ItemRow[];
  /** Removals of items whose records may be in older segments. */
  readonly removals: readonly RemovalRow[];
}

const TAIL_BYTES = 12;
/** Magic number: the characters `DVIX`. */
const MAGIC = 0x58495644;

/** Encodes a table of contents as the bytes that follow the records of a segment. */
export function encodeContents(contents: Contents): Uint8Array<ArrayBuffer> {
  const json = new TextEncoder().encode(JSON.stringify(contents));
  const bytes = new Uint8Array(json.length + TAIL_BYTES);
  bytes.set(json);
  const view = new DataView(bytes.buffer, json.length);
  view.setUint32(0, json.length, true);
  view.setUint32(4, crc32c(json), true);
  view.setUint32(8, MAGIC, true);
  return bytes;
}

/** Returns the JSON of a segment's table of contents; undefined if its checksum does not match. */
function jsonOf(segment: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined {
  const end = segment.length - TAIL_BYTES;
  if (end < 0) return undefined;
  const view = new DataView(segment.buffer, segment.byteOffset + end);
  const length = view.getUint32(0, true);
  if (view.getUint32(8, true) !== MAGIC || length > end) return undefined;
  const json = segment.subarray(end - length, end);
  return crc32c(json) === view.getUint32(4, true) ? json : undefined;
}

/** True if the table of contents of a segment is intact. */
export const hasContents = (segment: Uint8Array<ArrayBuffer>): boolean => jsonOf(segment) !== undefined;

/** Reads the table of contents of a segment; undefined if it is damaged. */
export function decodeContents(segment: Uint8Array<ArrayBuffer>): Contents | undefined {
  const json = jsonOf(segment);
  return json && (JSON.parse(new TextDecoder().decode(json)) as Contents);
}
