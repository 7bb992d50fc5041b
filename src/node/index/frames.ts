/**
 * The file format of an index in a folder: a log of frames, each written once at the end of the file.
 *
 * A frame is 24 bytes, a head (JSON) and a body (bytes). The 24 bytes are the letters `DNF1`, then five
 * unsigned 32-bit little-endian numbers: the lengths of head and body, the CRC-32C of head, body, and of the
 * 20 bytes before it.
 */
import type { FileHandle } from 'node:fs/promises';
import { IndexError } from '../../errors.js';
import { crc32c } from '../../search/store/crc32c.js';

/** Bytes before the head of a frame. */
export const PREFIX_BYTES = 24;
const MAGIC = 0x31464e44; // the letters DNF1

/** A frame in the file. */
export interface Frame {
  /** Position of the frame in the file. */
  readonly at: number;
  /** Position of the body. */
  readonly bodyAt: number;
  /** Position behind the frame. */
  readonly end: number;
  /** A JSON value; undefined if the head is no JSON. */
  readonly head: unknown;
  readonly body: Uint8Array<ArrayBuffer>;
  /** True if the body differs from what was written. */
  readonly damaged: boolean;
}

/** Encodes a frame. The parts, in order, are its bytes. */
export function encodeFrame(head: unknown, body: readonly Uint8Array[] = []): Uint8Array[] {
  return encodeText(JSON.stringify(head), body);
}

/** As `encodeFrame`, for a head that is already JSON. */
export function encodeText(json: string, body: readonly Uint8Array[]): Uint8Array[] {
  const text = new TextEncoder().encode(json);
  const length = body.reduce((sum, part) => sum + part.length, 0);
  if (length > 0xffffffff) throw new RangeError(`a change of ${length} bytes, of at most ${0xffffffff}`);
  const prefix = new DataView(new ArrayBuffer(PREFIX_BYTES));
  let sum = 0;
  for (const part of body) sum = crc32c(part, sum);
  [MAGIC, text.length, length, crc32c(text), sum].forEach((value, i) => prefix.setUint32(4 * i, value, true));
  prefix.setUint32(20, crc32c(new Uint8Array(prefix.buffer, 0, 20)), true);
  return [new Uint8Array(prefix.buffer), text, ...body];
}

/** What stands at a position of the file. */
export type Found =
  | Frame
  /** The file ends here, or in a frame whose writer was stopped: nothing was promised. */
  | 'end'
  /** Bytes that are no frame. */
  | 'damage';

/** Reads the frame at a position. @param size length of the file */
export async function readFrame(file: FileHandle, at: number, size: number): Promise<Found> {
  if (size - at < PREFIX_BYTES) return 'end';
  const bytes = await readBytes(file, at, PREFIX_BYTES);
  const view = new DataView(bytes.buffer);
  if (!isPrefix(view)) return (await isZero(file, at, size)) ? 'end' : 'damage';
  const [headBytes, bodyBytes] = [view.getUint32(4, true), view.getUint32(8, true)];
  const bodyAt = at + PREFIX_BYTES + headBytes;
  const end = bodyAt + bodyBytes;
  if (end > size) return 'end';
  const text = await readBytes(file, at + PREFIX_BYTES, headBytes);
  if (crc32c(text) !== view.getUint32(12, true)) return 'damage';
  const body = await readBytes(file, bodyAt, bodyBytes);
  return { at, bodyAt, end, head: headOf(text), body, damaged: crc32c(body) !== view.getUint32(16, true) };
}

/** The JSON value of a head; undefined if it is no JSON. */
function headOf(text: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(text));
  } catch {
    return undefined;
  }
}

const isPrefix = (view: DataView<ArrayBuffer>): boolean =>
  view.getUint32(0, true) === MAGIC &&
  view.getUint32(20, true) === crc32c(new Uint8Array(view.buffer, 0, 20));

/** True if the rest of the file is zero: a system that lost power may have extended the file only. */
async function isZero(file: FileHandle, at: number, size: number): Promise<boolean> {
  for (let from = at; from < size; from += SEARCH_BYTES) {
    const bytes = await readBytes(file, from, Math.min(SEARCH_BYTES, size - from));
    if (bytes.some((byte) => byte !== 0)) return false;
  }
  return true;
}

const SEARCH_BYTES = 2 ** 20;

/** Returns the position of the next frame behind damaged bytes; `size` if there is none. */
export async function nextFrame(file: FileHandle, after: number, size: number): Promise<number> {
  for (let from = after; from < size; from += SEARCH_BYTES) {
    const length = Math.min(SEARCH_BYTES + PREFIX_BYTES, size - from);
    const bytes = await readBytes(file, from, length);
    const text = Buffer.from(bytes.buffer);
    for (let at = text.indexOf('DNF1'); at >= 0; at = text.indexOf('DNF1', at + 1))
      if (at + PREFIX_BYTES <= length && isPrefix(new DataView(bytes.slice(at, at + PREFIX_BYTES).buffer)))
        return from + at;
  }
  return size;
}

/** Reads exactly `length` bytes. @throws IndexError INDEX_DAMAGED if the file is shorter */
export async function readBytes(
  file: FileHandle,
  at: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length;) {
    const { bytesRead } = await file.read(bytes, done, Math.min(length - done, 2 ** 30), at + done);
    if (bytesRead === 0)
      throw new IndexError(
        'INDEX_DAMAGED',
        `index: expected ${length} bytes at byte ${at} of its file, found ${done}: another program cut the file while the index was open. Open the index again.`,
      );
    done += bytesRead;
  }
  return bytes;
}

/** Writes all parts at a position. Returns the position behind them. */
export async function writeParts(
  file: FileHandle,
  parts: readonly Uint8Array[],
  position: number,
): Promise<number> {
  let at = position;
  for (const part of parts)
    for (let done = 0; done < part.length;) {
      const { bytesWritten } = await file.write(part, done, part.length - done, at);
      done += bytesWritten;
      at += bytesWritten;
    }
  return at;
}
