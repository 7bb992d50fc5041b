/** Parses a JPEG's segments: the frame, the tables, and the header of each scan. */
import { huffmanTable, type HuffmanTable } from './jpegBits.js';

/**
 * A colour component of the frame. An MCU (minimum coded unit) is the group of blocks, some of each
 * component, that an interleaved scan stores together.
 */
export interface Component {
  readonly id: number;
  /** Sampling factors: blocks per MCU, horizontally and vertically. */
  readonly across: number;
  readonly down: number;
  /** Index of the quantization table. */
  readonly quantization: number;
  /** Size of the component in samples, and in blocks that contain samples. */
  readonly width: number;
  readonly height: number;
  readonly blocksAcross: number;
  readonly blocksDown: number;
}

/** The frame header. Width and height in pixels. */
export interface Frame {
  readonly width: number;
  readonly height: number;
  readonly progressive: boolean;
  readonly components: readonly Component[];
  /** The largest sampling factors of all components. */
  readonly mostAcross: number;
  readonly mostDown: number;
  readonly mcusAcross: number;
  readonly mcusDown: number;
}

/** A block of an MCU (minimum coded unit: the group of blocks that an interleaved scan stores together). */
export interface ScanBlock {
  readonly component: Component;
  /** Index of the component in the scan. */
  readonly scanIndex: number;
  /** Column and row of the block among the blocks that its component has in the MCU. */
  readonly x: number;
  readonly y: number;
  /**
   * The block's Huffman tables. A table is undefined if the file lacks it; not every scan needs both tables.
   */
  readonly dc: HuffmanTable | undefined;
  readonly ac: HuffmanTable | undefined;
}

/** The header of a scan. */
export interface Scan {
  /** Offset of the scan's data. */
  readonly begin: number;
  readonly components: readonly Component[];
  readonly blocks: readonly ScanBlock[];
  readonly mcusAcross: number;
  readonly mcusDown: number;
  /** Number of MCUs between two restart markers; 0 for a scan without restart markers. */
  readonly restartInterval: number;
  /**
   * First and last coefficient that the scan contains (Ss, Se), and the bit positions of a progressive scan
   * (Ah, Al).
   */
  readonly from: number;
  readonly to: number;
  readonly high: number;
  readonly low: number;
}

const [SOF0, SOF2, DHT, SOI, EOI, SOS, DQT, DRI, APP14] = [
  0xc0, 0xc2, 0xc4, 0xd8, 0xd9, 0xda, 0xdb, 0xdd, 0xee,
];

/**
 * Maps a zigzag index to a row-major index. As in libjpeg, 16 extra entries catch out-of-range indices of
 * damaged data.
 */
export const NATURAL_ORDER: Uint8Array = zigzag();

function zigzag(): Uint8Array {
  const order = new Uint8Array(64 + 16).fill(63);
  let [x, y] = [0, 0];
  for (let i = 0; i < 64; i++) {
    order[i] = 8 * y + x;
    const up = (x + y) % 2 === 0;
    if (up && x === 7) y += 1;
    else if (!up && y === 7) x += 1;
    else if (up) [x, y] = [x + 1, Math.max(0, y - 1)];
    else [x, y] = [Math.max(0, x - 1), y + 1];
  }
  return order;
}

/**
 * Reads the scan headers of a JPEG, one after the other. The segments of the JPEG must be complete, which
 * jpeg.ts checks.
 */
export class JpegSegments {
  /**
   * The frame header. Undefined before it is read, and for codings other than sequential or progressive
   * Huffman.
   */
  frame: Frame | undefined;
  /** Quantization tables in row-major order. */
  readonly quantization: (Uint16Array | undefined)[] = [];
  /** Colour transform from the Adobe segment. Undefined without such a segment. */
  adobeTransform: number | undefined;
  readonly #bytes: Uint8Array;
  readonly #dc: (HuffmanTable | undefined)[] = [];
  readonly #ac: (HuffmanTable | undefined)[] = [];
  #restartInterval = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /**
   * Reads the header of the next scan after offset `at`. Returns undefined at the end of the file, and if
   * libjpeg refuses the scan.
   */
  nextScan(at: number): Scan | undefined {
    const bytes = this.#bytes;
    for (;;) {
      at = bytes.indexOf(0xff, at);
      while (at >= 0 && bytes[at] === 0xff) at += 1;
      const marker = at < 0 ? undefined : bytes[at++];
      if (marker === undefined || marker === EOI) return undefined;
      if (marker < SOF0 || (marker >= 0xd0 && marker <= SOI)) continue; // a marker without a segment
      const end = at + bytes[at]! * 256 + bytes[at + 1]!;
      const content = bytes.subarray(at + 2, end);
      if (marker >= SOF0 && marker <= SOF2) this.frame = frameOf(content, marker === SOF2);
      else if (marker === DHT) this.#readCodes(content);
      else if (marker === DQT) this.#readQuantization(content);
      else if (marker === DRI) this.#restartInterval = content[0]! * 256 + content[1]!;
      else if (marker === APP14 && String.fromCharCode(...content.subarray(0, 5)) === 'Adobe')
        this.adobeTransform = content[11];
      else if (marker === SOS) return this.#scanOf(content, end);
      at = end;
    }
  }

  #readCodes(content: Uint8Array): void {
    for (let at = 0; at < content.length;) {
      const counts = content.subarray(at + 1, at + 17);
      const end = at + 17 + counts.reduce((sum, each) => sum + each, 0);
      const isDc = content[at]! >> 4 === 0;
      const tables = isDc ? this.#dc : this.#ac;
      tables[content[at]! & 15] = huffmanTable(counts, content.subarray(at + 17, end), isDc);
      at = end;
    }
  }

  #readQuantization(content: Uint8Array): void {
    for (let at = 0; at < content.length;) {
      const [wide, number] = [content[at]! >> 4 > 0, content[at]! & 15];
      const table = new Uint16Array(64);
      at += 1;
      for (let k = 0; k < 64; k++, at += wide ? 2 : 1)
        table[NATURAL_ORDER[k]!] = wide ? content[at]! * 256 + content[at + 1]! : content[at]!;
      this.quantization[number] = table;
    }
  }

  #scanOf(header: Uint8Array, begin: number): Scan | undefined {
    const { frame } = this;
    const count = header[0]!;
    if (!frame) return undefined;
    const components: Component[] = [];
    const blocks: ScanBlock[] = [];
    for (let scanIndex = 0; scanIndex < count; scanIndex++) {
      const component = frame.components.find(({ id }) => id === header[1 + 2 * scanIndex]);
      if (!component) return undefined;
      components.push(component);
      const tables = header[2 + 2 * scanIndex]!;
      const [dc, ac] = [this.#dc[tables >> 4], this.#ac[tables & 15]];
      // An MCU of a single-component scan is one block, regardless of sampling.
      const [across, down] = count === 1 ? [1, 1] : [component.across, component.down];
      for (let y = 0; y < down; y++)
        for (let x = 0; x < across; x++) blocks.push({ component, scanIndex, x, y, dc, ac });
    }
    if (blocks.length > 10) return undefined;
    const [alone] = components;
    return {
      begin,
      components,
      blocks,
      mcusAcross: count === 1 ? alone!.blocksAcross : frame.mcusAcross,
      mcusDown: count === 1 ? alone!.blocksDown : frame.mcusDown,
      restartInterval: this.#restartInterval,
      from: header[1 + 2 * count]!,
      to: header[2 + 2 * count]!,
      high: header[3 + 2 * count]! >> 4,
      low: header[3 + 2 * count]! & 15,
    };
  }
}

function frameOf(content: Uint8Array, progressive: boolean): Frame | undefined {
  const [height, width] = [content[1]! * 256 + content[2]!, content[3]! * 256 + content[4]!];
  const offsets = Array.from({ length: content[5]! }, (_, i) => 6 + 3 * i);
  const across = offsets.map((at) => content[at + 1]! >> 4);
  const down = offsets.map((at) => content[at + 1]! & 15);
  if ([...across, ...down].some((each) => each < 1 || each > 4)) return undefined;
  const [mostAcross, mostDown] = [Math.max(...across), Math.max(...down)];
  const components = offsets.map((at, i): Component => {
    const samples = [Math.ceil((width * across[i]!) / mostAcross), Math.ceil((height * down[i]!) / mostDown)];
    return {
      id: content[at]!,
      across: across[i]!,
      down: down[i]!,
      quantization: content[at + 2]!,
      width: samples[0]!,
      height: samples[1]!,
      blocksAcross: Math.ceil(samples[0]! / 8),
      blocksDown: Math.ceil(samples[1]! / 8),
    };
  });
  return {
    width,
    height,
    progressive,
    components,
    mostAcross,
    mostDown,
    mcusAcross: Math.ceil(width / (8 * mostAcross)),
    mcusDown: Math.ceil(height / (8 * mostDown)),
  };
}
