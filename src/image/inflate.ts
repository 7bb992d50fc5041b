/**
 * A zlib decoder that returns the readable part of a broken or truncated stream, as Pillow does. The
 * platform's `DecompressionStream` only throws an error for such a stream. This decoder is slow, so it is
 * used only for broken and truncated streams.
 */
import type { Slices } from '../platform/pause.js';

/** Result of `inflate`. */
export interface Inflated {
  /** The requested number of bytes. Bytes from index `length` on are zeros. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Number of bytes that were inflated. */
  readonly length: number;
  /**
   * `whole`: the stream is valid up to its end or up to the requested number of bytes. `broken`: the stream
   * contradicts the format. `short`: the input ends before the stream does.
   */
  readonly end: 'whole' | 'broken' | 'short';
}

/** Thrown if the input ends before the stream does. */
class Short extends Error {}
/** Thrown if the stream contradicts the format. */
class Broken extends Error {}
/** Thrown when the requested number of bytes has been produced. */
class Full extends Error {}

const LENGTHS = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
  227, 258,
];
const LENGTH_BITS = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCES = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097,
  6145, 8193, 12289, 16385, 24577,
];
const ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/** A canonical Huffman code. */
interface Codes {
  /** Number of codes, by code length in bits. */
  readonly counts: Uint16Array;
  /** Symbols sorted by code. */
  readonly symbols: Uint16Array;
}

function codesOf(bits: readonly number[]): Codes {
  const counts = new Uint16Array(16);
  for (const each of bits) counts[each]! += 1;
  const used = bits.length - counts[0]!;
  counts[0] = 0;
  let left = 1;
  for (let i = 1; i < 16; i++) if ((left = left * 2 - counts[i]!) < 0) throw new Broken();
  // zlib refuses incomplete codes, except an empty code and a single code of one bit.
  if (left > 0 && used > 0 && !(used === 1 && counts[1] === 1)) throw new Broken();
  const starts = new Uint16Array(17);
  for (let i = 1; i < 16; i++) starts[i + 1] = starts[i]! + counts[i]!;
  const symbols = new Uint16Array(bits.length);
  bits.forEach((each, symbol) => {
    if (each === 0) return;
    symbols[starts[each]!] = symbol;
    starts[each]! += 1;
  });
  return { counts, symbols };
}

/** Number of symbols decoded before the decoder checks whether to pause for other tasks. */
const SYMBOLS_PER_STEP = 4096;

/**
 * Inflates a zlib stream until it ends or `most` bytes are produced. Pauses between time slices, so that
 * other tasks of the page can run.
 * @throws the error of `slices.rest` after an abort
 */
export async function inflate(packed: Uint8Array, most: number, slices: Slices): Promise<Inflated> {
  const bytes = new Uint8Array(most);
  let [at, held, count, length] = [0, 0, 0, 0];

  const take = (bitCount: number): number => {
    while (count < bitCount) {
      if (at >= packed.length) throw new Short();
      held |= packed[at++]! << count;
      count += 8;
    }
    const value = held & ((1 << bitCount) - 1);
    held >>>= bitCount;
    count -= bitCount;
    return value;
  };
  const symbol = ({ counts, symbols }: Codes): number => {
    let [code, first, index] = [0, 0, 0];
    for (let bits = 1; bits < 16; bits++) {
      code |= take(1);
      const here = counts[bits]!;
      if (code - here < first) return symbols[index + code - first]!;
      index += here;
      first = (first + here) << 1;
      code <<= 1;
    }
    throw new Broken();
  };
  const put = (byte: number): void => {
    if (length === most) throw new Full();
    bytes[length++] = byte;
  };
  const stored = (): void => {
    [held, count] = [0, 0];
    const size = take(16); // below 65536
    if (take(16) !== (~size & 0xffff)) throw new Broken();
    for (let i = 0; i < size; i++) put(take(8));
  };
  const dynamic = (): [Codes, Codes] => {
    const [literals, distances, lengths] = [take(5) + 257, take(5) + 1, take(4) + 4];
    if (literals > 286 || distances > 30) throw new Broken();
    const small = Array.from({ length: 19 }, () => 0);
    for (let i = 0; i < lengths; i++) small[ORDER[i]!] = take(3);
    const codes = codesOf(small);
    const bits: number[] = [];
    while (bits.length < literals + distances) {
      const each = symbol(codes);
      if (each < 16) {
        bits.push(each);
        continue;
      }
      if (each === 16 && bits.length === 0) throw new Broken();
      const value = each === 16 ? bits.at(-1)! : 0;
      const times = each === 16 ? 3 + take(2) : each === 17 ? 3 + take(3) : 11 + take(7);
      if (bits.length + times > literals + distances) throw new Broken();
      for (let i = 0; i < times; i++) bits.push(value);
    }
    if (bits[256] === 0) throw new Broken();
    return [codesOf(bits.slice(0, literals)), codesOf(bits.slice(literals))];
  };
  const compressed = async ([literals, distances]: [Codes, Codes]): Promise<void> => {
    for (let step = 1; ; step++) {
      const rest = step % SYMBOLS_PER_STEP === 0 && slices.rest();
      if (rest) await rest;
      const each = symbol(literals);
      if (each === 256) return;
      if (each < 256) {
        put(each);
        continue;
      }
      if (each > 285) throw new Broken();
      const times = LENGTHS[each - 257]! + take(LENGTH_BITS[each - 257]!);
      const far = symbol(distances);
      if (far > 29) throw new Broken();
      const distance = DISTANCES[far]! + take(far < 4 ? 0 : (far >> 1) - 1);
      if (distance > length) throw new Broken();
      for (let i = 0; i < times; i++) put(bytes[length - distance]!);
    }
  };

  let end: Inflated['end'] = 'whole';
  try {
    const head = take(8) * 256 + take(8);
    if (head % 31 !== 0 || (head & 0x0f20) !== 0x0800 || head >> 12 > 7) throw new Broken();
    for (let last = 0; last === 0;) {
      const rest = slices.rest();
      if (rest) await rest;
      last = take(1);
      const kind = take(2);
      if (kind === 0) stored();
      else if (kind === 1) await compressed(fixed());
      else if (kind === 2) await compressed(dynamic());
      else throw new Broken();
    }
    [held, count] = [0, 0];
    const sum = await adler32(bytes.subarray(0, length), slices);
    if (take(16) !== swapped(sum >>> 16)) throw new Broken();
    if (take(16) !== swapped(sum & 0xffff)) throw new Broken();
  } catch (error) {
    if (error instanceof Short) end = 'short';
    else if (error instanceof Broken) end = 'broken';
    else if (!(error instanceof Full)) throw error;
  }
  return { bytes, length, end };
}

function fixed(): [Codes, Codes] {
  const bits = Array.from({ length: 288 }, (_, i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8));
  return [codesOf(bits), codesOf(Array.from({ length: 32 }, () => 5))];
}

const swapped = (value: number): number => ((value & 255) << 8) | (value >> 8);

async function adler32(bytes: Uint8Array, slices: Slices): Promise<number> {
  let [a, b] = [1, 0];
  for (let at = 0; at < bytes.length;) {
    const rest = slices.rest();
    if (rest) await rest;
    for (const end = Math.min(bytes.length, at + 3800); at < end; at++) b += a += bytes[at]!;
    a %= 65521;
    b %= 65521;
  }
  return ((b << 16) | a) >>> 0;
}
