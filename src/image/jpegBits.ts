/**
 * Reads the bits of a JPEG scan as libjpeg-turbo 3.1 does on a 64-bit machine, and fetches bytes at the same
 * moments. libjpeg-turbo suspends when it tries to fetch a byte past the input, even if it already holds
 * enough bits. The order of fetches therefore decides which files without an end marker Pillow reads.
 */

/** Pillow passes the file to libjpeg in blocks of this size. */
const FEED_BYTES = 65_536;
/**
 * Minimum number of bits in the bit buffer after the slow path (with bounds checks) has filled the buffer.
 */
const FILLED_BITS = 57;
/** Codes up to this many bits are decoded by one table lookup. */
const LOOKUP_BITS = 8;

/** A Huffman table in the form of libjpeg's derived tables. */
export interface HuffmanTable {
  /**
   * Lookup table, indexed by the next 8 bits of the scan. Each element is code length × 256 + value, or 9 ×
   * 256 if the code is longer than 8 bits.
   */
  readonly lookup: Uint16Array;
  /** The largest code of each code length, or −1 if no code has this length. Index 17 holds a sentinel. */
  readonly largest: Int32Array;
  /** For each code length: the number to add to a code to get the index of the code's value. */
  readonly offset: Int32Array;
  readonly values: Uint8Array;
}

/**
 * Builds a Huffman table.
 *
 * @param counts number of codes, by code length − 1
 * @returns undefined, if libjpeg refuses the table
 */
export function huffmanTable(
  counts: Uint8Array,
  values: Uint8Array,
  isDc: boolean,
): HuffmanTable | undefined {
  const lookup = new Uint16Array(1 << LOOKUP_BITS).fill((LOOKUP_BITS + 1) << 8);
  const [largest, offset] = [new Int32Array(18).fill(-1), new Int32Array(18)];
  largest[17] = 0xfffff;
  if (isDc && values.some((value) => value > 15)) return undefined;
  let [code, index] = [0, 0];
  for (let length = 1; length <= 16; length++, code <<= 1) {
    const count = counts[length - 1]!;
    if (count === 0) continue;
    offset[length] = index - code;
    for (let i = 0; i < count; i++, code++, index++) {
      if (length > LOOKUP_BITS) continue;
      const from = code << (LOOKUP_BITS - length);
      lookup.fill((length << 8) | values[index]!, from, from + (1 << (LOOKUP_BITS - length)));
    }
    largest[length] = code - 1;
    if (code >= 1 << length) return undefined; // a code must not consist of 1 bits only
  }
  return { lookup, largest, offset, values };
}

/** A saved position of the bit reader. */
interface SavedBits {
  at: number;
  high: number;
  low: number;
  left: number;
}

/** The bit reader of a scan. */
export class ScanBits {
  /** Offset of the byte that is fetched next. */
  at: number;
  /** The marker that was found and not yet handled; 0 if none. No byte after the marker is fetched. */
  marker = 0;
  /** True if a marker came too early, so that zero bits replace the missing data. */
  insufficient = false;
  /** End of the bytes that Pillow has passed to libjpeg so far. */
  #limit: number;
  // A bit buffer of 64 bits. The lowest `left` bits are unread.
  #high = 0;
  #low = 0;
  #left = 0;
  /** The last DC coefficient of each component of the scan. */
  readonly lastDc: Int32Array = new Int32Array(4);
  readonly #bytes: Uint8Array;
  readonly #saved: SavedBits = { at: 0, high: 0, low: 0, left: 0 };
  readonly #savedDc = new Int32Array(4);

  /**
   * Creates a bit reader that begins at a scan's data.
   * @param at offset of the scan's data in `bytes`
   */
  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.at = at;
    this.#limit = Math.min(bytes.length, Math.ceil((at + 1) / FEED_BYTES) * FEED_BYTES);
  }

  /**
   * Makes the next block of the file available, as Pillow does when libjpeg needs more bytes. Returns false
   * at the end of the file.
   */
  more(): boolean {
    if (this.#limit >= this.#bytes.length) return false;
    this.#limit = Math.min(this.#bytes.length, this.#limit + FEED_BYTES);
    return true;
  }

  /** Number of available bytes that are not fetched yet. */
  get available(): number {
    return this.#limit - this.at;
  }

  /** Saves the position for `restore`. */
  save(): void {
    const saved = this.#saved;
    saved.at = this.at;
    saved.high = this.#high;
    saved.low = this.#low;
    saved.left = this.#left;
    this.#savedDc.set(this.lastDc);
  }

  /** Returns to the position of the last `save`. */
  restore(): void {
    this.at = this.#saved.at;
    this.#high = this.#saved.high;
    this.#low = this.#saved.low;
    this.#left = this.#saved.left;
    this.lastDc.set(this.#savedDc);
  }

  /** Empties the bit buffer, as libjpeg does at a restart marker. */
  discard(): void {
    this.#left = 0;
  }

  /** Moves past the next marker and sets `marker`. Returns false if the file ends first. */
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
   * Reads `count` bits (1 to 16) as an unsigned number; −1 if the available bytes end. `fast` selects
   * libjpeg's path without bounds checks, for positions far from the end. That path never returns −1, but may
   * find a marker.
   */
  receive(count: number, fast: boolean): number {
    if (fast) this.#fillFast();
    else if (this.#left < count && !this.#fill(count)) return -1;
    this.#left -= count;
    return this.#bitsAbove(this.#left) & ((1 << count) - 1);
  }

  /** Decodes the next value with `table`; −1 if the available bytes end. An undefined code gives 0. */
  symbol(table: HuffmanTable, fast: boolean): number {
    let length = 1;
    if (fast) this.#fillFast();
    else if (this.#left < LOOKUP_BITS && !this.#fill(0)) return -1;
    if (this.#left >= LOOKUP_BITS) {
      const entry = table.lookup[this.#bitsAbove(this.#left - LOOKUP_BITS) & 0xff]!;
      length = entry >> 8;
      if (length <= LOOKUP_BITS) {
        this.#left -= length;
        return entry & 0xff;
      }
    }
    if (this.#left < length && !this.#fill(length)) return -1;
    this.#left -= length;
    let code = this.#bitsAbove(this.#left) & ((1 << length) - 1);
    while (code > table.largest[length]!) {
      if (this.#left < 1 && !this.#fill(1)) return -1;
      this.#left -= 1;
      code = (code << 1) | (this.#bitsAbove(this.#left) & 1);
      length += 1;
    }
    return length > 16 ? 0 : (table.values[code + table.offset[length]!] ?? 0);
  }

  /** Returns the 32 bits of the bit buffer that start at bit `index`, counted from the lowest. */
  #bitsAbove(index: number): number {
    if (index >= 32) return this.#high >>> (index - 32);
    return index === 0 ? this.#low : (this.#high << (32 - index)) | (this.#low >>> index);
  }

  #push(byte: number): void {
    this.#high = (this.#high << 8) | (this.#low >>> 24);
    this.#low = (this.#low << 8) | byte;
    this.#left += 8;
  }

  /**
   * Fills the bit buffer. Returns false if the available bytes end: the caller must then call `restore` and
   * `more`, and retry.
   */
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
