/** The writer of the safetensors format. */
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
 * Writes a header, and says where each tensor's bytes then belong.
 *
 * Tensors are laid out with the widest elements first and otherwise in the order given, and the header is
 * padded to a multiple of 8 bytes, so that every tensor is aligned to its element.
 *
 * @param tensors names and what they stand for: a Map, or pairs
 * @param metadata strings for `__metadata__`
 * @returns `bytes`: the length and the JSON; `header`: what the reader makes of them, tensors in the order of
 *   the data
 * @throws SafetensorsError if no such file can be: two equal names, an unknown type, a size that is not an
 *   integer, a lone surrogate
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
        `${where}: expected the name of a tensor, found "${METADATA}", which is reserved. Rename it.`,
      );
    }
    // Within this range a number's text is its digits alone, which is what the format asks for.
    if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
      throw new SafetensorsError(
        'NUMBER_NOT_UINT',
        `${where}: expected a shape of integers from 0 on, found ${showShape(shape)} for ${quote(name)}.`,
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
  specs.sort((a, b) => b.bits - a.bits); // stable

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
  // The reader has the last word on names, numbers and metadata: what it would not read is not written.
  const header = parseSafetensorsHeader(bytes, { name: where, maxHeaderBytes: MAX_HEADER_BYTES });
  return { bytes, header };
}

/**
 * Writes a whole file. Elements are stored as they lie in memory, so the machine has to be little-endian, as
 * all that run WebGPU are.
 *
 * @param tensors names, and with each its type, its shape and its bytes (any typed array)
 * @param metadata strings for `__metadata__`
 * @throws SafetensorsError if no such file can be; SIZE_MISMATCH if `data` is not as long as type and shape
 *   say
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
