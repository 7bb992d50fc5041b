/**
 * The one scan of a sequential JPEG: whether its data make every block. Pillow reads a JPEG without an end
 * marker where they do, and refuses it where they do not.
 */
import { huffmanTable, ScanBits, type HuffmanTable } from './jpegBits.js';

const [SOS, DHT, DRI] = [0xda, 0xc4, 0xdd];
/** Of baseline and extended sequential frames with Huffman codes. */
const [SOF0, SOF1] = [0xc0, 0xc1];
/** For how long the blocks are gone through in one go. */
const STRETCH_MS = 15;

interface Scan {
  readonly begin: number;
  readonly mcus: number;
  /** Tables of each block of an MCU. */
  readonly blocks: readonly { readonly dc: HuffmanTable; readonly ac: HuffmanTable }[];
  /** MCUs from restart to restart; 0: none. */
  readonly restartInterval: number;
}

/**
 * Where the data of the scan end, if they make every block without what follows; undefined where Pillow asks
 * for more, and for frames of other kinds. The segments up to the scan must be whole.
 *
 * @throws `signal.reason` after an abort
 */
export async function endOfBlocks(bytes: Uint8Array, signal?: AbortSignal): Promise<number | undefined> {
  const scan = scanOf(bytes);
  if (!scan) return undefined;
  const bits = new ScanBits(bytes, scan.begin);
  let [toRestart, nextRestart] = [scan.restartInterval, 0];
  let pauseAtMs = performance.now() + STRETCH_MS;
  for (let mcu = 0; mcu < scan.mcus; mcu++) {
    if (mcu % 256 === 0 && performance.now() > pauseAtMs) {
      await new Promise((resolve) => setTimeout(resolve));
      signal?.throwIfAborted();
      pauseAtMs = performance.now() + STRETCH_MS;
    }
    if (scan.restartInterval > 0 && toRestart === 0) {
      if (!restart(bits, nextRestart)) return undefined;
      nextRestart = (nextRestart + 1) & 7;
      toRestart = scan.restartInterval;
    }
    if (!bits.insufficient) while (!readMcu(bits, scan)) if (!bits.more()) return undefined;
    toRestart -= 1;
  }
  return bits.marker === 0 ? bits.at : bits.at - 2;
}

/** Reads one MCU; false where the bytes at hand end, which leaves all as it was. */
function readMcu(bits: ScanBits, { blocks, restartInterval }: Scan): boolean {
  bits.keep();
  const fast = restartInterval === 0 && bits.atHand >= 512 * blocks.length && bits.marker === 0;
  if (fast) {
    for (const block of blocks) readBlock(bits, block, true);
    if (bits.marker === 0) return true;
    bits.marker = 0;
    bits.back();
  }
  for (const block of blocks) {
    if (readBlock(bits, block, false)) continue;
    bits.back();
    return false;
  }
  return true;
}

function readBlock(bits: ScanBits, { dc, ac }: Scan['blocks'][number], fast: boolean): boolean {
  const size = bits.symbol(dc, fast);
  if (size < 0 || (size > 0 && bits.receive(size, fast) < 0)) return false;
  for (let k = 1; k < 64; k++) {
    const symbol = bits.symbol(ac, fast);
    if (symbol < 0) return false;
    k += symbol >> 4; // zeros
    if ((symbol & 15) > 0) {
      if (bits.receive(symbol & 15, fast) < 0) return false;
    } else if (symbol >> 4 < 15) {
      break;
    }
  }
  return true;
}

/** Goes behind the next restart marker, or stays ahead of another; false where the file ends first. */
function restart(bits: ScanBits, wanted: number): boolean {
  bits.discard();
  if (bits.marker === 0 && !bits.nextMarker()) return false;
  for (;;) {
    const { marker } = bits;
    const away = marker >= 0xd0 && marker <= 0xd7 ? (marker - wanted) & 7 : undefined;
    // One of the next two, or no restart at all: the data up to it are missing.
    if (away === 1 || away === 2 || (away === undefined && marker >= SOF0)) return true;
    // One of the last two, or nothing known: skipped.
    if (away === undefined || away === 6 || away === 7) {
      if (!bits.nextMarker()) return false;
      continue;
    }
    bits.marker = 0;
    bits.insufficient = false;
    return true;
  }
}

/** Reads the segments up to the scan; undefined where it is not the one scan of a sequential frame. */
function scanOf(bytes: Uint8Array): Scan | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [dc, ac]: [(HuffmanTable | undefined)[], (HuffmanTable | undefined)[]] = [[], []];
  let frame: Uint8Array | undefined;
  let restartInterval = 0;
  for (let at = 2; ;) {
    at = bytes.indexOf(0xff, at);
    while (bytes[at] === 0xff) at += 1;
    const marker = bytes[at++];
    if (marker === undefined) return undefined;
    if (marker < SOF0 || (marker >= 0xd0 && marker <= 0xd8)) continue; // without content
    const end = at + view.getUint16(at);
    const content = bytes.subarray(at + 2, end);
    if (marker === SOF0 || marker === SOF1) frame = content;
    else if (marker === DRI) restartInterval = view.getUint16(at + 2);
    else if (marker === DHT) readTables(content, dc, ac);
    else if (marker === SOS) return frame && scanOfFrame(frame, content, end, dc, ac, restartInterval);
    at = end;
  }
}

function readTables(
  content: Uint8Array,
  dc: (HuffmanTable | undefined)[],
  ac: (HuffmanTable | undefined)[],
): void {
  for (let at = 0; at < content.length;) {
    const counts = content.subarray(at + 1, at + 17);
    const end = at + 17 + counts.reduce((sum, each) => sum + each, 0);
    const isDc = content[at]! >> 4 === 0;
    (isDc ? dc : ac)[content[at]! & 15] = huffmanTable(counts, content.subarray(at + 17, end), isDc);
    at = end;
  }
}

function scanOfFrame(
  frame: Uint8Array,
  header: Uint8Array,
  begin: number,
  dc: readonly (HuffmanTable | undefined)[],
  ac: readonly (HuffmanTable | undefined)[],
  restartInterval: number,
): Scan | undefined {
  const [height, width] = [frame[1]! * 256 + frame[2]!, frame[3]! * 256 + frame[4]!];
  const count = frame[5]!;
  if (header[0] !== count) return undefined; // one of several scans
  const samplings = Array.from({ length: count }, (_, i) => frame[7 + 3 * i]!);
  const [most, mostDown] = [
    Math.max(...samplings.map((each) => each >> 4)),
    Math.max(...samplings.map((each) => each & 15)),
  ];
  // A component alone comes block by block, whatever its sampling.
  const mcus =
    count === 1
      ? Math.ceil(width / 8) * Math.ceil(height / 8)
      : Math.ceil(width / (8 * most)) * Math.ceil(height / (8 * mostDown));
  const blocks = [];
  for (let i = 0; i < count; i++) {
    const place = samplings.findIndex((_, j) => frame[6 + 3 * j] === header[1 + 2 * i]);
    const tables = header[2 + 2 * i]!;
    const [dcTable, acTable] = [dc[tables >> 4], ac[tables & 15]];
    if (place < 0 || !dcTable || !acTable) return undefined;
    const here = count === 1 ? 1 : (samplings[place]! >> 4) * (samplings[place]! & 15);
    for (let j = 0; j < here; j++) blocks.push({ dc: dcTable, ac: acTable });
  }
  return blocks.length > 10 ? undefined : { begin, mcus, blocks, restartInterval };
}
