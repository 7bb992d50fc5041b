/**
 * The scans of a JPEG, code by code: whether the data of the one scan make every block, which decides whether
 * Pillow reads a file without an end marker; and the coefficients of a sequential scan.
 */
import { Slices } from '../platform/pause.js';
import { SLICE_MS } from './decodeErrors.js';
import { ScanBits } from './jpegBits.js';
import { JpegSegments, NATURAL_ORDER, type Scan, type ScanBlock } from './jpegFrame.js';

/**
 * Where the data of the scan end, if they make every block without what follows; undefined where Pillow asks
 * for more, and for frames of other kinds. The segments up to the scan must be whole.
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
 * Reads a block of the MCU at this column and row; false where the bytes at hand end. `fast`: on libjpeg's
 * path without checks.
 */
export type ReadBlock = (block: ScanBlock, column: number, row: number, fast: boolean) => boolean;

export interface ReadScanOptions {
  /** Whether there is no fast path, as in progressive scans. Default false. */
  readonly slow?: boolean;
  /** Whether blocks are read also where data are missing. Default false. */
  readonly always?: boolean;
  readonly onRestart?: () => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Goes through the MCUs of a scan, in slices. False where the file ends first.
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
    bits.keep();
    if (!slow && restartInterval === 0 && bits.atHand >= 512 * blocks.length && bits.marker === 0) {
      for (const block of blocks) read(block, column, row, true);
      if (bits.marker === 0) return true;
      bits.marker = 0;
      bits.back();
    }
    for (const block of blocks) {
      if (read(block, column, row, false)) continue;
      bits.back();
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
 * Reads a block of a sequential scan; false where the bytes at hand end.
 *
 * @param coefficients gets the block from `to` on, in natural order, where there was zero. Default: nothing
 *   is kept
 */
export function readBlock(
  bits: ScanBits,
  { dc, ac, place }: ScanBlock,
  fast: boolean,
  coefficients?: Int16Array,
  to = 0,
): boolean {
  const size = bits.symbol(dc!, fast);
  if (size < 0) return false;
  const difference = size > 0 ? bits.receive(size, fast) : 0;
  if (difference < 0) return false;
  if (coefficients) {
    bits.lastDc[place]! += extended(difference, size);
    coefficients[to] = bits.lastDc[place]!;
  }
  for (let k = 1; k < 64; k++) {
    const symbol = bits.symbol(ac!, fast);
    if (symbol < 0) return false;
    k += symbol >> 4; // zeros
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

/** A number of so many bits, of which the lower half stands for negative ones. */
export const extended = (value: number, length: number): number =>
  length > 0 && value < 1 << (length - 1) ? value - (1 << length) + 1 : value;

/** Goes behind the next restart marker, or stays ahead of another; false where the file ends first. */
function restart(bits: ScanBits, wanted: number): boolean {
  bits.discard();
  bits.lastDc.fill(0);
  if (bits.marker === 0 && !bits.nextMarker()) return false;
  for (;;) {
    const { marker } = bits;
    const away = marker >= 0xd0 && marker <= 0xd7 ? (marker - wanted) & 7 : undefined;
    // One of the next two, or no restart at all: the data up to it are missing.
    if (away === 1 || away === 2 || (away === undefined && marker >= 0xc0)) return true;
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
