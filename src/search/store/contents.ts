/**
 * The contents list at the end of a segment, from which a lost database is rebuilt. Chromium deletes all
 * databases of an origin if it finds their files torn, and killing the browser during a write tears them now
 * and then (measured: about once in 100 kills). Layout:
 *
 *   records | JSON of `Contents` | bytes of the JSON (u32) | its CRC-32C (u32) | magic number (u32)
 */
import { crc32c } from './crc32c.js';
import type { ItemRow, RemovalRow } from './rows.js';

/** The contents list of a segment. */
export interface Contents {
  /** The header as its row stores it (JSON). */
  readonly header: string;
  /** Sequence of the last commit before this segment. */
  readonly settled: number;
  /** Token of the commit that wrote the segment. */
  readonly commit: string;
  /** Number of segments of that commit. An interrupted commit has fewer. */
  readonly parts: number;
  /** Rows of the items in the segment. */
  readonly items: readonly ItemRow[];
  /** Removals of items that older segments may contain. */
  readonly removals: readonly RemovalRow[];
}

const TAIL_BYTES = 12;
/** `DVIX` */
const MAGIC = 0x58495644;

/** The bytes that follow the records of a segment. */
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

/** The JSON of the contents list; undefined if its checksum does not match. */
function jsonOf(segment: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined {
  const end = segment.length - TAIL_BYTES;
  if (end < 0) return undefined;
  const view = new DataView(segment.buffer, segment.byteOffset + end);
  const length = view.getUint32(0, true);
  if (view.getUint32(8, true) !== MAGIC || length > end) return undefined;
  const json = segment.subarray(end - length, end);
  return crc32c(json) === view.getUint32(4, true) ? json : undefined;
}

/** True if the contents list is intact. */
export const hasContents = (segment: Uint8Array<ArrayBuffer>): boolean => jsonOf(segment) !== undefined;

/** Reads the contents list; undefined if it is damaged. */
export function decodeContents(segment: Uint8Array<ArrayBuffer>): Contents | undefined {
  const json = jsonOf(segment);
  return json && (JSON.parse(new TextDecoder().decode(json)) as Contents);
}
