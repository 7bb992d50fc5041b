/**
 * Reads the Huffman codes of JPEG scans. `endOfBlocks` checks whether the first scan contains every block. If
 * so, Pillow reads the file even without an end marker. `readScan` and `readBlock` decode a scan's
 * coefficients.
 */
import { Slices } from '../platform/pause.js';
import { SLICE_MS } from './decodeErrors.js';
import { ScanBits } from './jpegBits.js';
import { JpegSegments, NATURAL_ORDER, type Scan, type ScanBlock } from './jpegFrame.js';

/**
 * Returns the offset at which the data of the first scan end, if the data contain every block of the image.
 * Returns undefined if libjpeg would need more bytes, if the frame is not sequential, or if the first scan
 * lacks a component. The segments before the scan must be complete.
 *
 * @throws `signal.reason` after an abort
 */
export async function endOfBlocks(bytes: Uint8Array, signal?: AbortSignal): Promise<number | undefined> {
  const segments = new JpegSegments(bytes);
  const scan = segments.nextScan(2);
  const { frame } = segments;
  if (!scan || !frame || frame.progressive || scan.components.length !== frame.components.length)
    return undefined;
  if (scan.blocks.some(({ dc, ac }) => !dc || !ac)) return undefined;
  const bits = new ScanBits(bytes, scan.begin);
  const read: ReadBlock = (block, _column, _row, fast) => readBlock(bits, block, fast);
  if (!(await readScan(bits, scan, read, { signal }))) return undefined;
  return bits.marker === 0 ? bits.at : bits.at - 2;
}

/**
 * Reads one block of the MCU (minimum coded unit) at `column` and `row`. Returns false if the available bytes
 * end. `fast` selects libjpeg's path without bounds checks.
 */
export type ReadBlock = (block: ScanBlock, column: number, row: number, fast: boolean) => boolean;

export interface ReadScanOptions {
  /**
   * True to read all blocks by the slow path (with bounds checks), as libjpeg reads progressive scans.
   * Default false.
   */
  readonly slow?: boolean;
  /** True to read blocks even if their data are missing. Default false. */
  readonly always?: boolean;
  /** Called at each restart marker. */
  readonly onRestart?: () => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads all MCUs (minimum coded units) of a scan in time slices. Returns false if the file ends first.
 *
 * @throws `signal.reason` after an abort
 */
export async function readScan(
  bits: ScanBits,
  { blocks, mcusAcross, mcusDown, restartInterval }: Scan,
  read: ReadBlock,
  { slow = false, always = false, onRestart, signal }: ReadScanOptions = {},
): Promise<boolean> {
  const readMcu = (column: number, row: number): boolean => {
    bits.save();
    if (!slow && restartInterval === 0 && bits.available >= 512 * blocks.length && bits.marker === 0) {
      for (const block of blocks) read(block, column, row, true);
      if (bits.marker === 0) return true;
      bits.marker = 0;
      bits.restore();
    }
    for (const block of blocks) {
      if (read(block, column, row, false)) continue;
      bits.restore();
      return false;
    }
    return true;
  };
  let [toRestart, nextRestart] = [restartInterval, 0];
  const slices = new Slices(SLICE_MS, signal);
  for (let row = 0; row < mcusDown; row++) {
    for (let column = 0; column < mcusAcross; column++) {
      const rest = column % 256 === 0 && slices.rest();
      if (rest) await rest;
      if (restartInterval > 0 && toRestart === 0) {
        if (!restart(bits, nextRestart)) return false;
        nextRestart = (nextRestart + 1) & 7;
        toRestart = restartInterval;
        onRestart?.();
      }
      if (always || !bits.insufficient) while (!readMcu(column, row)) if (!bits.more()) return false;
      toRestart -= 1;
    }
  }
  return true;
}

/**
 * Reads one block of a sequential scan. Returns false if the available bytes end.
 *
 * @param coefficients receives the block at offset `to`, in row-major order; must hold zeros there. Default:
 *   the coefficients are discarded
 */
export function readBlock(
  bits: ScanBits,
  { dc, ac, scanIndex }: ScanBlock,
  fast: boolean,
  coefficients?: Int16Array,
  to = 0,
): boolean {
  const size = bits.symbol(dc!, fast);
  if (size < 0) return false;
  const difference = size > 0 ? bits.receive(size, fast) : 0;
  if (difference < 0) return false;
  if (coefficients) {
    bits.lastDc[scanIndex]! += extended(difference, size);
    coefficients[to] = bits.lastDc[scanIndex]!;
  }
  for (let k = 1; k < 64; k++) {
    const symbol = bits.symbol(ac!, fast);
    if (symbol < 0) return false;
    k += symbol >> 4; // skips this number of zero coefficients
    const length = symbol & 15;
    if (length > 0) {
      const value = bits.receive(length, fast);
      if (value < 0) return false;
      if (coefficients) coefficients[to + NATURAL_ORDER[k]!] = extended(value, length);
    } else if (symbol >> 4 < 15) {
      break;
    }
  }
  return true;
}

/** Decodes a JPEG magnitude of `length` bits: values in the lower half of the range are negative. */
export const extended = (value: number, length: number): number =>
  length > 0 && value < 1 << (length - 1) ? value - (1 << length) + 1 : value;

/**
 * Resynchronizes at a restart marker, as libjpeg's jpeg_resync_to_restart does. Returns false if the file
 * ends first.
 *
 * @param expected number of the next restart marker, 0 to 7
 */
function restart(bits: ScanBits, expected: number): boolean {
  bits.discard();
  bits.lastDc.fill(0);
  if (bits.marker === 0 && !bits.nextMarker()) return false;
  for (;;) {
    const { marker } = bits;
    const away = marker >= 0xd0 && marker <= 0xd7 ? (marker - expected) & 7 : undefined;
    // If the marker is one of the next two restart markers, or a marker of a different kind, the data up to
    // this marker are missing.
    if (away === 1 || away === 2 || (away === undefined && marker >= 0xc0)) return true;
    // A marker that is one of the last two restart markers, or invalid, is skipped.
    if (away === undefined || away === 6 || away === 7) {
      if (!bits.nextMarker()) return false;
      continue;
    }
    bits.marker = 0;
    bits.insufficient = false;
    return true;
  }
}
