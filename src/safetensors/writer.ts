/** Writes files in the safetensors format. */
import { SafetensorsError } from '../errors.js';
import {
  METADATA,
  MAX_HEADER_BYTES,
  PREFIX_BYTES,
  asBytes,
  knownBits,
  quote,
  showShape,
  tensorBytes,
} from './format.js';
import type { SafetensorsHeader, TensorSpec } from './format.js';
import { parseSafetensorsHeader } from './reader.js';

/**
 * Encodes a header, and returns the position of each tensor in the file.
 *
 * Tensors with the widest elements come first; tensors with equally wide elements keep the given order. The
 * header is padded to a multiple of 8 bytes. So every tensor is aligned to its element size.
 *
 * @param tensors names with types and shapes: a Map, or pairs
 * @param metadata strings for `__metadata__`
 * @returns `bytes`: the file's first bytes, up to the first tensor; `header`: the parsed header, with tensors
 * in the order of the data
 * @throws SafetensorsError if the header would be invalid: two equal names, an unknown type, a size that is
 * not an integer, a lone surrogate
 */
export function encodeSafetensorsHeader(
  tensors: Iterable<readonly [name: string, spec: TensorSpec]>,
  metadata: Iterable<readonly [key: string, value: string]> = [],
): { bytes: Uint8Array<ArrayBuffer>; header: SafetensorsHeader } {
  const where = 'encodeSafetensors';
  const specs = Array.from(tensors, ([name, { dtype, shape }]) => {
    if (name === METADATA) {
      throw new SafetensorsError(
        'METADATA_NOT_STRING',
        `${where}: the tensor name "${METADATA}" is reserved. Rename the tensor.`,
      );
    }
    // For safe integers the text of a number has only digits, as the format demands.
    if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
      throw new SafetensorsError(
        'NUMBER_NOT_UINT',
        `${where}: expected a shape of integers of at least 0, found ${showShape(shape)} for ${quote(name)}.`,
      );
    }
    return {
      name,
      dtype,
      shape,
      bits: knownBits(dtype, name, where),
      byteLength: tensorBytes(dtype, shape, name, where),
    };
  });
  specs.sort((a, b) => b.bits - a.bits); // `sort` keeps the given order of equally wide types

  const members: string[] = [];
  const strings = Array.from(metadata, ([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
  if (strings.length > 0) {
    members.push(`"${METADATA}":{${strings.join(',')}}`);
  }
  let begin = 0;
  for (const { name, dtype, shape, byteLength } of specs) {
    const end = begin + byteLength;
    members.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":[${begin},${end}]}`,
    );
    begin = end;
  }
  const json = new TextEncoder().encode(`{${members.join(',')}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(PREFIX_BYTES + padded).fill(0x20, PREFIX_BYTES + json.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, padded, true);
  bytes.set(json, PREFIX_BYTES);
  // The strict reader checks names, numbers and metadata, so nothing unreadable is written.
  const header = parseSafetensorsHeader(bytes, { name: where, maxHeaderBytes: MAX_HEADER_BYTES });
  return { bytes, header };
}

/**
 * Encodes a whole file. Elements are copied from memory unchanged, so the machine must be little-endian, as
 * all machines with WebGPU are.
 *
 * @param tensors names with type, shape and bytes (any typed array)
 * @param metadata strings for `__metadata__`
 * @throws SafetensorsError if the file would be invalid; SIZE_MISMATCH if the length of `data` does not
 * match type and shape
 */
export function encodeSafetensors(
  tensors: Iterable<
    readonly [name: string, tensor: TensorSpec & { readonly data: ArrayBufferView | ArrayBuffer }]
  >,
  metadata: Iterable<readonly [key: string, value: string]> = [],
): Uint8Array<ArrayBuffer> {
  const list = [...tensors];
  const { bytes, header } = encodeSafetensorsHeader(list, metadata);
  const file = new Uint8Array(header.fileBytes);
  file.set(bytes);
  for (const [name, { data }] of list) {
    const { begin, end } = header.tensors.get(name)!;
    const from = asBytes(data);
    if (from.length !== end - begin) {
      throw new SafetensorsError(
        'SIZE_MISMATCH',
        `encodeSafetensors: expected ${end - begin} bytes for ${quote(name)}, found ${from.length}.`,
      );
    }
    file.set(from, begin);
  }
  return file;
}
