/**
 * Constants and types of the safetensors format, and helpers for its error messages.
 */
import { SafetensorsError } from '../errors.js';

/** Every element type of the format, with its width in bits. Two are narrower than a byte. */
export const DTYPE_BITS: Readonly<Record<SafetensorsDtype, number>> = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
};

/** The name of an element type, as the header writes it. */
export type SafetensorsDtype =
  | 'BOOL'
  | 'F4'
  | 'F6_E2M3'
  | 'F6_E3M2'
  | 'U8'
  | 'I8'
  | 'F8_E5M2'
  | 'F8_E4M3'
  | 'F8_E8M0'
  | 'F8_E4M3FNUZ'
  | 'F8_E5M2FNUZ'
  | 'I16'
  | 'U16'
  | 'F16'
  | 'BF16'
  | 'I32'
  | 'U32'
  | 'F32'
  | 'C64'
  | 'F64'
  | 'I64'
  | 'U64';

/** The format's limit for the length of a header, in bytes. */
export const MAX_HEADER_BYTES = 100_000_000;

/**
 * The reader's default limit for the length of a header: 16 MiB. For comparison, the header of DINOv2-L has
 * 50 KB.
 */
export const DEFAULT_MAX_HEADER_BYTES: number = 16 * 2 ** 20;

/**
 * The reader's limit for the number of a tensor's dimensions; the format sets none. No real tensor has more
 * dimensions, and the limit protects from huge shapes in hostile files.
 */
export const MAX_RANK = 8;

export const PREFIX_BYTES = 8;
export const METADATA = '__metadata__';
export const REWRITE =
  'The file is damaged or its writer is faulty: download it again, or save it again with the safetensors library.';

/** One tensor: its element type, shape and position in the file. */
export interface TensorInfo {
  /** Element type. */
  readonly dtype: SafetensorsDtype;
  /** Outermost dimension first; `[]` is a scalar. If a dimension is 0, the tensor has no bytes. */
  readonly shape: readonly number[];
  /**
   * Position of the first byte, counted from the start of the file: `bytes.subarray(begin, end)` is the
   * tensor. The position may be unaligned.
   */
  readonly begin: number;
  /** Position behind the last byte, counted from the start of the file. */
  readonly end: number;
}

/** The parsed header of a file. */
export interface SafetensorsHeader {
  /** Tensors by name, in the order of the header, which may differ from the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The strings under `__metadata__`; empty if the header has no metadata. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Position of the first tensor: 8 + the header's length, in bytes. */
  readonly dataBegin: number;
  /** The size of the whole file in bytes, according to its header. */
  readonly fileBytes: number;
}

/** Options of `parseSafetensors`. */
export interface SafetensorsOptions {
  /** Limit for the length of a header in bytes, 1 to 100,000,000. Default: 16 MiB. */
  readonly maxHeaderBytes?: number | undefined;
  /** Name of the file in error messages. Default: `safetensors`. */
  readonly name?: string | undefined;
}

/** Options of `parseSafetensorsHeader`. */
export interface SafetensorsHeaderOptions extends SafetensorsOptions {
  /** The size of the whole file in bytes. If given, missing and surplus bytes are errors. */
  readonly fileBytes?: number | undefined;
}

/** The type and shape of a tensor to write. */
export interface TensorSpec {
  /** Element type. */
  readonly dtype: SafetensorsDtype;
  /** Outermost dimension first; `[]` for a scalar. */
  readonly shape: readonly number[];
}

/** Returns the width of an element in bits; undefined if the format has no such type. */
export function dtypeBits(dtype: string): number | undefined {
  return Object.hasOwn(DTYPE_BITS, dtype) ? DTYPE_BITS[dtype as SafetensorsDtype] : undefined;
}

export function knownBits(dtype: string, name: string, where: string): number {
  const bits = dtypeBits(dtype);
  if (bits === undefined) {
    throw new SafetensorsError(
      'DTYPE_UNKNOWN',
      `${where}: expected one of ${Object.keys(DTYPE_BITS).join(' ')} for ${quote(name)}, found ${quote(String(dtype))}.`,
    );
  }
  return bits;
}

/** Returns the size of a tensor in bytes. */
export function tensorBytes(
  dtype: SafetensorsDtype,
  shape: readonly number[],
  name: string,
  where: string,
): number {
  const width = knownBits(dtype, name, where);
  // A product of two safe integers is either exact, or rounded and still above 2^53 - 1. So no BigInt is
  // needed. Zero dimensions are left out, so that [0, 2^52, 4] and [2^52, 4, 0] are treated alike.
  let bits = width;
  let empty = false;
  for (const size of shape) {
    if (size === 0) {
      empty = true;
    } else {
      bits *= size;
      if (bits > Number.MAX_SAFE_INTEGER) {
        throw new SafetensorsError(
          'NUMBER_TOO_BIG',
          `${where}: expected at most 2^53 - 1 bits in ${quote(name)}, found more (${dtype} of shape ${showShape(shape)}). ${REWRITE}`,
        );
      }
    }
  }
  if (empty) {
    return 0;
  }
  if (bits % 8 !== 0) {
    throw new SafetensorsError(
      'SUBBYTE_MISALIGNED',
      `${where}: expected whole bytes in ${quote(name)}, found ${bits} bits (${dtype} of shape ${showShape(shape)}). ${REWRITE}`,
    );
  }
  return bits / 8;
}

/**
 * Returns the tensors in the order of their bytes. An empty tensor comes before the tensor that begins at the
 * same byte.
 */
export function inFileOrder(tensors: ReadonlyMap<string, TensorInfo>): [name: string, info: TensorInfo][] {
  return [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
}

export function asBytes(bytes: ArrayBufferView | ArrayBufferLike): Uint8Array {
  if (bytes instanceof Uint8Array) {
    return bytes;
  }
  if (ArrayBuffer.isView(bytes)) {
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  // The type is checked by its `toString` tag, so that buffers from other frames are accepted. Without this
  // check, a Blob or a Response would silently become an empty array.
  const tag = Object.prototype.toString.call(bytes);
  if (tag === '[object ArrayBuffer]' || tag === '[object SharedArrayBuffer]') {
    return new Uint8Array(bytes);
  }
  throw new TypeError(
    `safetensors: expected a Uint8Array or an ArrayBuffer, found ${tag}. For a Blob or a Response, await its arrayBuffer() first.`,
  );
}

/** Quotes a name from a file for a message. The name may have any length and any characters. */
export function quote(text: string): string {
  return JSON.stringify(shorten(text));
}

export function shorten(text: string): string {
  return text.length > 100 ? `${text.slice(0, 80)}… (${text.length} characters)` : text;
}

export function showShape(shape: readonly number[]): string {
  return `[${shorten(shape.join(', '))}]`;
}
