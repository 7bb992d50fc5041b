/**
 * Reads ordinary safetensors headers with JSON.parse. All other headers are left to the strict reader
 * (reader.ts), which also reports what is wrong with an invalid header.
 */
import {
  DEFAULT_MAX_HEADER_BYTES,
  DTYPE_BITS,
  MAX_RANK,
  METADATA,
  PREFIX_BYTES,
  type SafetensorsDtype,
  type SafetensorsHeader,
  type TensorInfo,
} from './format.js';

/**
 * Returns the length of a header's JSON in bytes, read from the first 8 bytes of a file.
 * @returns undefined if the length is 0, above 16 MiB, or does not fit into `fileBytes`
 */
export function plainHeaderLength(first8: Uint8Array, fileBytes: number = Infinity): number | undefined {
  if (first8.length !== PREFIX_BYTES) return undefined;
  const length = Number(new DataView(first8.buffer, first8.byteOffset).getBigUint64(0, true));
  return length > 0 && length <= DEFAULT_MAX_HEADER_BYTES && PREFIX_BYTES + length <= fileBytes
    ? length
    : undefined;
}

/**
 * Reads a header without the tensors behind it. Gives the same result as `parseSafetensorsHeader`.
 * @param bytes the header, from the first byte of the file to the last byte of the header's JSON
 * @param fileBytes the size of the file, if it is known
 * @returns undefined for every invalid header. Also undefined for a valid header that JSON.parse might read
 *   differently than the strict reader does
 */
export function readPlainHeader(bytes: Uint8Array, fileBytes?: number): SafetensorsHeader | undefined {
  let json: unknown;
  try {
    const padded = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
      bytes.subarray(PREFIX_BYTES),
    );
    let end = padded.length;
    while (padded[end - 1] === ' ') end--; // the padding that writers add
    const text = padded.slice(0, end);
    json = JSON.parse(text);
    // JSON.stringify gives the same text, so JSON.parse has dropped no duplicate key and rounded no number.
    // Headers with escapes are left to the strict reader, because JSON.stringify may spell a character in a
    // different way.
    if (text.includes('\\') || JSON.stringify(json) !== text) return undefined;
  } catch {
    return undefined;
  }
  if (!isObject(json)) return undefined;
  const dataBegin = bytes.length;
  const tensors = new Map<string, TensorInfo>();
  let metadata: SafetensorsHeader['metadata'] = new Map();
  for (const [name, value] of Object.entries(json)) {
    if (!isObject(value)) return undefined;
    if (name === METADATA) {
      const entries = Object.entries(value);
      if (!entries.every((entry): entry is [string, string] => typeof entry[1] === 'string'))
        return undefined;
      metadata = new Map(entries);
      continue;
    }
    const info = tensorInfo(value, dataBegin);
    if (!info) return undefined;
    tensors.set(name, info);
  }
  let end = dataBegin;
  for (const info of [...tensors.values()].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (info.begin !== end) return undefined;
    end = info.end;
  }
  return end === (fileBytes ?? end) ? { tensors, metadata, dataBegin, fileBytes: end } : undefined;
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const areSizes = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);

function tensorInfo(fields: Readonly<Record<string, unknown>>, dataBegin: number): TensorInfo | undefined {
  const { dtype, shape, data_offsets: offsets } = fields;
  if (Object.keys(fields).length !== 3 || typeof dtype !== 'string' || !Object.hasOwn(DTYPE_BITS, dtype))
    return undefined;
  if (!areSizes(shape) || shape.length > MAX_RANK || !areSizes(offsets) || offsets.length !== 2)
    return undefined;
  const [begin, end] = offsets as readonly [number, number];
  const bits = shape.reduce((product, size) => product * size, DTYPE_BITS[dtype as SafetensorsDtype]);
  // A product of integers that stays below 2^53 is exact. Shapes with a 0 beside other dimensions are left
  // to the strict reader.
  if (!Number.isSafeInteger(bits) || (bits === 0 && shape.length > 1) || bits !== 8 * (end - begin))
    return undefined;
  if (!Number.isSafeInteger(dataBegin + end)) return undefined;
  return { dtype: dtype as SafetensorsDtype, shape, begin: dataBegin + begin, end: dataBegin + end };
}
