/**
 * The end of a segment says what is in it, so that an index survives the loss of its database. Chromium
 * deletes an origin's databases, all of them, when it finds their files torn, and a browser that is killed in
 * mid-write tears them now and then (measured: about once in 100 kills):
 *
 *     records, JSON: Contents, bytes of the JSON (u32), its CRC-32C (u32), a mark (u32)
 */
import { crc32c } from './crc32c.js';
import type { ItemRow, RemovalRow } from './rows.js';

export interface Contents {
  /** As the header's row has it. */
  readonly header: string;
  /** Commits up to this sequence were in when the segment was written. */
  readonly settled: number;
  /** The commit's token, and of how many segments it consists: one that was interrupted has fewer. */
  readonly commit: string;
  readonly parts: number;
  /** As their rows have them. */
  readonly items: readonly ItemRow[];
  /** Of items that may stand in older segments. */
  readonly removals: readonly RemovalRow[];
}

const TAIL_BYTES = 12;
/** `DVIX` */
const MARK = 0x58495644;

export function encodeContents(contents: Contents): Uint8Array<ArrayBuffer> {
  const json = new TextEncoder().encode(JSON.stringify(contents));
  const bytes = new Uint8Array(json.length + TAIL_BYTES);
  bytes.set(json);
  const view = new DataView(bytes.buffer, json.length);
  view.setUint32(0, json.length, true);
  view.setUint32(4, crc32c(json), true);
  view.setUint32(8, MARK, true);
  return bytes;
}

/** The JSON, if it is what was written. */
function jsonOf(segment: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined {
  const end = segment.length - TAIL_BYTES;
  if (end < 0) return undefined;
  const view = new DataView(segment.buffer, segment.byteOffset + end);
  const length = view.getUint32(0, true);
  if (view.getUint32(8, true) !== MARK || length > end) return undefined;
  const json = segment.subarray(end - length, end);
  return crc32c(json) === view.getUint32(4, true) ? json : undefined;
}

export const hasContents = (segment: Uint8Array<ArrayBuffer>): boolean => jsonOf(segment) !== undefined;

/** @returns undefined where the end of the segment is not what was written */
export function decodeContents(segment: Uint8Array<ArrayBuffer>): Contents | undefined {
  const json = jsonOf(segment);
  return json && (JSON.parse(new TextDecoder().decode(json)) as Contents);
}
