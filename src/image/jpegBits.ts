/**
 * The bits of a JPEG's scan, read as libjpeg-turbo 3.1 reads them on a 64-bit machine: which bytes it fetches
 * when. That decides which files without an end marker Pillow reads. libjpeg-turbo suspends where it wants
 * more bytes than there are, even if the bits at hand would do.
 */

/** Pillow hands the file to libjpeg in blocks of this size. */
const FEED_BYTES = 65_536;
/** To how many bits the slow path fills up, at least. */
const FILLED_BITS = 57;
/** Bits of a code that are looked up at once. */
const LOOKED_UP = 8;

export interface HuffmanTable {
  /** By the next 8 bits: length of the code × 256 + its value; 9 × 256 where it is longer. */
  readonly lookup: Uint16Array;
  /** By length: the largest code, −1 where there is none; a sentinel at 17. */
  readonly largest: Int32Array;
  /** By length: from a code to the place of its value. */
  readonly offset: Int32Array;
  readonly values: Uint8Array;
}

/** @returns undefined where libjpeg refuses the table. `counts`: of codes, by length less 1. */
export function huffmanTable(
  counts: Uint8Array,
  values: Uint8Array,
  isDc: boolean,
): HuffmanTable | undefined {
  const lookup = new Uint16Array(1 << LOOKED_UP).fill((LOOKED_UP + 1) << 8);
  const [largest, offset] = [new Int32Array(18).fill(-1), new Int32Array(18)];
  largest[17] = 0xfffff;
  if (isDc && values.some((value) => value > 15)) return undefined;
  let [code, place] = [0, 0];
  for (let length = 1; length <= 16; length++, code <<= 1) {
    const count = counts[length - 1]!;
    if (count === 0) continue;
    offset[length] = place - code;
    for (let i = 0; i < count; i++, code++, place++) {
      if (length > LOOKED_UP) continue;
      const from = code << (LOOKED_UP - length);
      lookup.fill((length << 8) | values[place]!, from, from + (1 << (LOOKED_UP - length)));
    }
    largest[length] = code - 1;
    if (code >= 1 << length) return undefined; // no code is all ones
  }
  return { lookup, largest, offset, values };
}

/** What is kept to read an MCU again. */
interface Mark {
  at: number;
  high: number;
  low: number;
  left: number;
}

export class ScanBits {
  /** The byte that is fetched next. */
  at: number;
  /** The marker that was met and waits to be read; 0: none. Nothing is fetched beyond it. */
  marker = 0;
  /** Whether zeros stand in for data that a marker has cut short. */
  insufficient = false;
  /** Where the bytes end that Pillow has handed over. */
  #limit: number;
  // 64 bits, of which the lowest `left` are still to be read.
  #high = 0;
  #low = 0;
  #left = 0;
  /** Of each component of the scan, the last DC coefficient. */
  readonly lastDc: Int32Array = new Int32Array(4);
  readonly #bytes: Uint8Array;
  readonly #mark: Mark = { at: 0, high: 0, low: 0, left: 0 };
  readonly #markedDc = new Int32Array(4);

  /** @param at where the data of the scan begin */
  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.at = at;
    this.#limit = Math.min(bytes.length, Math.ceil((at + 1) / FEED_BYTES) * FEED_BYTES);
  }

  /** Pillow reads on. False at the end of the file. */
  more(): boolean {
    if (this.#limit >= this.#bytes.length) return false;
    this.#limit = Math.min(this.#bytes.length, this.#limit + FEED_BYTES);
    return true;
  }

  /** How many bytes are at hand. */
  get atHand(): number {
    return this.#limit - this.at;
  }

  /** Keeps this place for `back`. */
  keep(): void {
    const mark = this.#mark;
    mark.at = this.at;
    mark.high = this.#high;
    mark.low = this.#low;
    mark.left = this.#left;
    this.#markedDc.set(this.lastDc);
  }

  back(): void {
    this.at = this.#mark.at;
    this.#high = this.#mark.high;
    this.#low = this.#mark.low;
    this.#left = this.#mark.left;
    this.lastDc.set(this.#markedDc);
  }

  /** Throws away the bits up to the next whole byte and those fetched ahead, as at a restart. */
  discard(): void {
    this.#left = 0;
  }

  /** Goes behind the next marker, which is then `marker`. False where the file ends first. */
  nextMarker(): boolean {
    const bytes = this.#bytes;
    for (let at = this.at; ;) {
      at = bytes.indexOf(0xff, at);
      if (at < 0) return false;
      while (bytes[at] === 0xff) at += 1;
      if (at >= bytes.length) return false;
      if (bytes[at++] === 0) continue;
      while (at > this.#limit) this.more();
      this.marker = bytes[at - 1]!;
      this.at = at;
      return true;
    }
  }

  /**
   * The next `count` bits (1 to 16) as a number, −1 where the bytes end. `fast` is libjpeg's path without
   * checks, for the middle of a file: it never ends, but may meet a marker.
   */
  receive(count: number, fast: boolean): number {
    if (fast) this.#fillFast();
    else if (this.#left < count && !this.#fill(count)) return -1;
    this.#left -= count;
    return this.#from(this.#left) & ((1 << count) - 1);
  }

  /** The next value by `table`; −1 where the bytes end. A code that stands for nothing gives 0. */
  symbol(table: HuffmanTable, fast: boolean): number {
    let length = 1;
    if (fast) this.#fillFast();
    else if (this.#left < LOOKED_UP && !this.#fill(0)) return -1;
    if (this.#left >= LOOKED_UP) {
      const entry = table.lookup[this.#from(this.#left - LOOKED_UP) & 0xff]!;
      length = entry >> 8;
      if (length <= LOOKED_UP) {
        this.#left -= length;
        return entry & 0xff;
      }
    }
    if (this.#left < length && !this.#fill(length)) return -1;
    this.#left -= length;
    let code = this.#from(this.#left) & ((1 << length) - 1);
    while (code > table.largest[length]!) {
      if (this.#left < 1 && !this.#fill(1)) return -1;
      this.#left -= 1;
      code = (code << 1) | (this.#from(this.#left) & 1);
      length += 1;
    }
    return length > 16 ? 0 : (table.values[code + table.offset[length]!] ?? 0);
  }

  /** The bits from the `place`-th of the lowest on: 32 of them at most. */
  #from(place: number): number {
    if (place >= 32) return this.#high >>> (place - 32);
    return place === 0 ? this.#low : (this.#high << (32 - place)) | (this.#low >>> place);
  }

  #push(byte: number): void {
    this.#high = (this.#high << 8) | (this.#low >>> 24);
    this.#low = (this.#low << 8) | byte;
    this.#left += 8;
  }

  /** False where the bytes at hand end: everything is then to be read again, with more. */
  #fill(needed: number): boolean {
    const bytes = this.#bytes;
    while (this.marker === 0 && this.#left < FILLED_BITS) {
      if (this.at >= this.#limit) return false;
      let byte = bytes[this.at++]!;
      if (byte === 0xff) {
        do {
          if (this.at >= this.#limit) return false;
          byte = bytes[this.at++]!;
        } while (byte === 0xff);
        if (byte !== 0) {
          this.marker = byte;
          break;
        }
        byte = 0xff;
      }
      this.#push(byte);
    }
    if (this.marker !== 0 && needed > this.#left) {
      this.insufficient = true;
      while (this.#left < FILLED_BITS - 7) this.#push(0);
      const rest = FILLED_BITS - this.#left;
      this.#high = (this.#high << rest) | (rest > 0 ? this.#low >>> (32 - rest) : 0);
      this.#low <<= rest;
      this.#left = FILLED_BITS;
    }
    return true;
  }

  #fillFast(): void {
    if (this.#left > 16) return;
    const bytes = this.#bytes;
    for (let i = 0; i < 6; i++) {
      const byte = bytes[this.at]!;
      if (byte !== 0xff) this.at += 1;
      else if (bytes[this.at + 1] === 0) this.at += 2;
      else {
        this.marker = bytes[this.at + 1]!;
        this.#push(0);
        continue;
      }
      this.#push(byte);
    }
  }
}
