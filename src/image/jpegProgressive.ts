/** Reads the blocks of a progressive JPEG's scans, as libjpeg does. */
import type { ScanBits } from './jpegBits.js';
import { NATURAL_ORDER, type Scan, type ScanBlock } from './jpegFrame.js';
import { extended } from './jpegScan.js';

/** Decodes the blocks of one scan. */
export interface ProgressiveReader {
  /** Adds the scan's bits to the block at offset `at` of `coefficients`. Returns false if the file ends. */
  readonly read: (block: ScanBlock, coefficients: Int16Array, at: number) => boolean;
  /** Must be called at each restart marker. */
  readonly onRestart: () => void;
  /** True if every block must be read, as libjpeg does, even if the file lacks the block's data. */
  readonly always: boolean;
}

/**
 * Creates the reader of a progressive scan. All bytes must be available in `bits`.
 *
 * @returns undefined, if the scan header is invalid for a progressive JPEG
 */
export function progressiveReader(
  bits: ScanBits,
  { components, blocks, from, to, high, low }: Scan,
): ProgressiveReader | undefined {
  const isDc = from === 0;
  const isSound =
    low <= 13 &&
    (high === 0 || high === low + 1) &&
    (isDc ? to === 0 : to >= from && to <= 63 && components.length === 1) &&
    blocks.every(({ dc, ac }) => (isDc ? high > 0 || dc : ac));
  if (!isSound) return undefined;
  const one = 1 << low;
  if (isDc) {
    const read: ProgressiveReader['read'] =
      high > 0
        ? (_, coefficients, at) => {
            const bit = bits.receive(1, false);
            if (bit > 0) coefficients[at]! |= one;
            return bit >= 0;
          }
        : ({ dc, scanIndex }, coefficients, at) => {
            const size = bits.symbol(dc!, false);
            const difference = size > 0 ? bits.receive(size, false) : size;
            if (difference < 0) return false;
            bits.lastDc[scanIndex]! += extended(difference, size);
            coefficients[at] = bits.lastDc[scanIndex]! << low;
            return true;
          };
    return { read, onRestart: () => undefined, always: high > 0 };
  }
  /** Number of following blocks for which this scan contains no further new coefficients (EOBRUN). */
  let emptyBlocks = 0;
  const onRestart = (): void => void (emptyBlocks = 0);
  /** Reads the length of a run of empty blocks; −1 if the file ends. */
  const runOf = (size: number): number => {
    const rest = size > 0 ? bits.receive(size, false) : 0;
    return rest < 0 ? -1 : (1 << size) + rest;
  };
  if (high === 0) {
    const read: ProgressiveReader['read'] = ({ ac }, coefficients, at) => {
      if (emptyBlocks > 0) {
        emptyBlocks -= 1;
        return true;
      }
      for (let k = from; k <= to; k++) {
        const symbol = bits.symbol(ac!, false);
        if (symbol < 0) return false;
        const [zeros, length] = [symbol >> 4, symbol & 15];
        if (length > 0) {
          k += zeros;
          const value = bits.receive(length, false);
          if (value < 0) return false;
          coefficients[at + NATURAL_ORDER[k]!] = extended(value, length) << low;
        } else if (zeros === 15) {
          k += 15;
        } else {
          emptyBlocks = runOf(zeros) - 1;
          return emptyBlocks >= 0;
        }
      }
      return true;
    };
    return { read, onRestart, always: false };
  }
  /** Reads one more bit of a nonzero coefficient. Returns false if the file ends. */
  const refine = (coefficients: Int16Array, index: number): boolean => {
    const bit = bits.receive(1, false);
    const value = coefficients[index]!;
    if (bit > 0 && (value & one) === 0) coefficients[index] = value >= 0 ? value + one : value - one;
    return bit >= 0;
  };
  const read: ProgressiveReader['read'] = ({ ac }, coefficients, at) => {
    let k = from;
    if (emptyBlocks === 0) {
      for (; k <= to; k++) {
        const symbol = bits.symbol(ac!, false);
        if (symbol < 0) return false;
        let [zeros, value] = [symbol >> 4, 0];
        if ((symbol & 15) > 0) {
          const bit = bits.receive(1, false);
          if (bit < 0) return false;
          value = bit > 0 ? one : -one;
        } else if (zeros < 15) {
          emptyBlocks = runOf(zeros);
          if (emptyBlocks < 0) return false;
          break;
        }
        for (; k <= to; k++) {
          const index = at + NATURAL_ORDER[k]!;
          if (coefficients[index] === 0) {
            if (--zeros < 0) break;
          } else if (!refine(coefficients, index)) return false;
        }
        if (value !== 0) coefficients[at + NATURAL_ORDER[k]!] = value;
      }
    }
    if (emptyBlocks > 0) {
      for (; k <= to; k++) {
        const index = at + NATURAL_ORDER[k]!;
        if (coefficients[index] !== 0 && !refine(coefficients, index)) return false;
      }
      emptyBlocks -= 1;
    }
    return true;
  };
  return { read, onRestart, always: false };
}
