/**
 * A strict reader of the safetensors format (writer.ts writes it):
 * https://github.com/huggingface/safetensors#format.
 *
 *     bytes 0 … 7        N, the length of the header: unsigned, 64 bits, little-endian
 *     bytes 8 … 7 + N    the header, JSON:
 *                      { "name": { "dtype", "shape", "data_offsets": [begin, end] }, "__metadata__": { … } }
 *     the rest           the tensors, without gap or overlap, and nothing behind the last tensor
 *
 * The reader rejects every file that the reference implementation (safetensors 0.8.0, Rust) rejects. It also
 * rejects files that the reference accepts although the format's text forbids them: duplicate names, unknown
 * fields, a tensor written as an array, `"__metadata__": null`. JSON.parse cannot find such faults: it keeps
 * the last of two equal keys, turns 2.0 into 2 and 9007199254740993 into …992, and recurses without limit. So
 * the header has its own scanner, which reads the text once and nests no deeper than the format.
 *
 * A tensor name may be `__proto__`, so tensor names are keys of Maps, never of objects.
 */
import { SafetensorsError } from '../errors.js';
import { HeaderScanner } from './headerScanner.js';
import {
  DEFAULT_MAX_HEADER_BYTES,
  MAX_HEADER_BYTES,
  PREFIX_BYTES,
  REWRITE,
  asBytes,
  inFileOrder,
  quote,
} from './format.js';
import type {
  SafetensorsHeader,
  SafetensorsHeaderOptions,
  SafetensorsOptions,
  TensorInfo,
} from './format.js';

/**
 * Reads the header of a whole file, and checks the header against the size of the file.
 *
 * @param bytes the file; the bytes are neither kept nor changed
 * @returns the position of each tensor in `bytes`
 * @throws SafetensorsError if the file breaks a rule of the format; `code` identifies the rule
 * @throws TypeError if `bytes` is no array of bytes; RangeError if an option is out of range
 * @example
 * ```js
 * const bytes = new Uint8Array(await file.arrayBuffer());
 * for (const [name, { dtype, shape, begin, end }] of parseSafetensors(bytes).tensors)
 *   console.log(name, dtype, shape, bytes.subarray(begin, end));
 * ```
 */
export function parseSafetensors(
  bytes: Uint8Array | ArrayBuffer,
  options: SafetensorsOptions = {},
): SafetensorsHeader {
  const file = asBytes(bytes);
  return parseSafetensorsHeader(file, { ...options, fileBytes: file.length });
}

/**
 * Returns the length of the header's JSON in bytes, given the first 8 bytes of a file. Used to read a file as
 * a stream. The first tensor begins at byte 8 + this length.
 *
 * @throws SafetensorsError FILE_TOO_SMALL, HEADER_EMPTY, HEADER_TOO_LARGE or HEADER_PAST_EOF. The message
 *   names usual mistakes: a web page, a git-lfs pointer, a PyTorch checkpoint, a GGUF file
 */
export function headerLength(first8: Uint8Array, options: SafetensorsHeaderOptions = {}): number {
  const { fileBytes, name: where = 'safetensors', maxHeaderBytes = DEFAULT_MAX_HEADER_BYTES } = options;
  if (!Number.isInteger(maxHeaderBytes) || maxHeaderBytes < 1 || maxHeaderBytes > MAX_HEADER_BYTES) {
    throw new RangeError(
      `maxHeaderBytes: expected an integer from 1 to ${MAX_HEADER_BYTES}, found ${maxHeaderBytes}.`,
    );
  }
  const available = Math.min(first8.length, fileBytes ?? Infinity);
  if (available < PREFIX_BYTES) {
    throw new SafetensorsError(
      'FILE_TOO_SMALL',
      `${where}: expected at least ${PREFIX_BYTES} bytes, found ${available}. The file is empty or incomplete: download it again.`,
    );
  }
  const low = uint32(first8, 0);
  const high = uint32(first8, 4);
  // From 2^53 on the sum is inexact. This does no harm, because a header of this length is rejected as too
  // large.
  const length = high * 2 ** 32 + low;
  if (length === 0) {
    throw new SafetensorsError(
      'HEADER_EMPTY',
      `${where}: expected a non-empty header, found a header of 0 bytes. ${REWRITE}`,
    );
  }
  // The order of the checks decides the message: first the format's limit, then the file's size, then the
  // caller's limit.
  if (length > MAX_HEADER_BYTES) {
    throw new SafetensorsError(
      'HEADER_TOO_LARGE',
      `${where}: expected a header of at most ${MAX_HEADER_BYTES} bytes, found a length of ${exactLength(first8)}. ${whatElse(first8)}`,
    );
  }
  if (fileBytes !== undefined && PREFIX_BYTES + length > fileBytes) {
    throw new SafetensorsError(
      'HEADER_PAST_EOF',
      `${where}: expected a header of ${length} bytes, found ${fileBytes - PREFIX_BYTES} bytes to the end of the file. ${whatElse(first8)}`,
    );
  }
  if (length > maxHeaderBytes) {
    throw new SafetensorsError(
      'HEADER_TOO_LARGE',
      `${where}: expected a header of at most ${maxHeaderBytes} bytes, found a length of ${length}. ` +
        `${whatElse(first8, 'The header of a model has some hundred kilobytes: get the file again.')}`,
    );
  }
  return length;
}

/**
 * Reads the header without the tensors behind it. Used to read a file as a stream.
 *
 * @param headerBytes the first 8 + `headerLength()` bytes of a file; later bytes are ignored
 * @throws SafetensorsError if the header breaks a rule of the format; DATA_TRUNCATED and TRAILING_BYTES only
 *   if `fileBytes` is given
 */
export function parseSafetensorsHeader(
  headerBytes: Uint8Array | ArrayBuffer,
  options: SafetensorsHeaderOptions = {},
): SafetensorsHeader {
  const bytes = asBytes(headerBytes);
  const where = options.name ?? 'safetensors';
  const length = headerLength(bytes, options);
  const dataBegin = PREFIX_BYTES + length;
  if (bytes.length < dataBegin) {
    throw new SafetensorsError(
      'HEADER_PAST_EOF',
      `${where}: expected a header of ${length} bytes, found ${bytes.length - PREFIX_BYTES}. ${REWRITE}`,
    );
  }
  const scanner = new HeaderScanner(decode(bytes, dataBegin, where), dataBegin, where);
  scanner.header();
  const fileBytes = checkLayout(scanner.tensors, dataBegin, where);
  if (options.fileBytes !== undefined) {
    checkFileBytes(scanner.tensors, fileBytes, options.fileBytes, where);
  }
  return { tensors: scanner.tensors, metadata: scanner.metadata, dataBegin, fileBytes };
}
/**
 * Checks that the tensors fill the bytes from `dataBegin` on without gap or overlap, in any order of the
 * header. Returns the position behind the last tensor.
 */
function checkLayout(tensors: ReadonlyMap<string, TensorInfo>, dataBegin: number, where: string): number {
  let at = dataBegin;
  let previous = 'the header';
  for (const [name, { begin, end }] of inFileOrder(tensors)) {
    if (begin !== at) {
      const [code, what] =
        begin > at ? (['OFFSETS_HOLE', 'a hole'] as const) : (['OFFSETS_OVERLAP', 'an overlap'] as const);
      throw new SafetensorsError(
        code,
        `${where}: expected ${quote(name)} to begin at byte ${at - dataBegin} of the data, behind ${previous}, found ${begin - dataBegin}: ` +
          `${what} of ${Math.abs(begin - at)} bytes. ${REWRITE}`,
      );
    }
    at = end;
    previous = quote(name);
  }
  return at;
}

function checkFileBytes(
  tensors: ReadonlyMap<string, TensorInfo>,
  expected: number,
  found: number,
  where: string,
): void {
  if (found > expected) {
    throw new SafetensorsError(
      'TRAILING_BYTES',
      `${where}: expected ${expected} bytes, found ${found}: ${found - expected} bytes behind the last tensor belong to no tensor. ${REWRITE}`,
    );
  }
  if (found < expected) {
    const cut = inFileOrder(tensors).find(([, { end }]) => end > found)!;
    throw new SafetensorsError(
      'DATA_TRUNCATED',
      `${where}: expected ${expected} bytes, found ${found}: the file ends before tensor ${quote(cut[0])} does. Download it again.`,
    );
  }
}

function uint32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

function exactLength(first8: Uint8Array): bigint {
  return (BigInt(uint32(first8, 4)) << 32n) | BigInt(uint32(first8, 0));
}

/** Decodes UTF-8 strictly. A default TextDecoder would replace invalid bytes and drop a byte order mark. */
const utf8 = /* @__PURE__ */ new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decode(file: Uint8Array, dataBegin: number, where: string): string {
  // Browsers do not decode shared memory, so the header is copied.
  const json =
    file.buffer instanceof ArrayBuffer
      ? file.subarray(PREFIX_BYTES, dataBegin)
      : file.slice(PREFIX_BYTES, dataBegin);
  try {
    return utf8.decode(json);
  } catch (cause) {
    throw new SafetensorsError(
      'HEADER_UTF8',
      `${where}: expected a header in UTF-8, found invalid bytes at byte ${PREFIX_BYTES + notUtf8(json)}. ${REWRITE}`,
      {
        cause,
      },
    );
  }
}

/** Returns the number of leading bytes that are valid UTF-8, found by bisection. */
function notUtf8(bytes: Uint8Array): number {
  let good = 0;
  let bad = bytes.length;
  while (bad - good > 1) {
    const middle = (good + bad) >>> 1;
    let start = good;
    while (start > 0 && (bytes[start]! & 0xc0) === 0x80) {
      start--; // back to the first byte of a character
    }
    try {
      // A new decoder for each test: with `stream`, a decoder keeps the bytes of an incomplete last
      // character for its next call.
      new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(start, middle), {
        stream: true,
      });
      good = middle;
    } catch {
      bad = middle;
    }
  }
  return good;
}

/**
 * Detects, from the first 8 bytes of a file, what kind of file it is. Called if these bytes give an
 * impossible length of a safetensors header. Returns a sentence with advice.
 */
function whatElse(first8: Uint8Array, otherwise = REWRITE): string {
  const text = String.fromCharCode(...first8.subarray(0, PREFIX_BYTES));
  const start = text.replace(/^\xef\xbb\xbf/, '').trimStart();
  if (start.startsWith('<')) {
    return 'This is a web page (HTML or XML), not a safetensors file: the address is wrong, or the server asks for a login.';
  }
  if (text === 'version ') {
    return 'This is a git-lfs pointer, not the file it points to: run "git lfs pull", or download the file itself.';
  }
  if (text.startsWith('PK\x03\x04')) {
    return 'This is a zip archive, as PyTorch writes (.pth, .pt, .bin): convert it with safetensors.torch.save_file.';
  }
  if (text.startsWith('\x80') && text.charCodeAt(1) <= 5) {
    return 'This is a Python pickle, as PyTorch writes (.pth, .pt): convert it with safetensors.torch.save_file.';
  }
  if (text.startsWith('GGUF')) {
    return 'This is a GGUF file, not a safetensors file: download the checkpoint in safetensors form.';
  }
  if (text.startsWith('\x89HDF')) {
    return 'This is an HDF5 file, not a safetensors file: download the checkpoint in safetensors form.';
  }
  if (text.startsWith('\x1f\x8b')) {
    return 'This is a gzip file: decompress it first.';
  }
  if (start.startsWith('{')) {
    return 'This is JSON, perhaps a config.json or an index of shards: load the .safetensors file itself.';
  }
  if (/^[\x20-\x7e\s]{8}$/.test(text)) {
    return `The file begins with the text ${quote(text)}: it is not a safetensors file, but perhaps a server's message.`;
  }
  return otherwise;
}
