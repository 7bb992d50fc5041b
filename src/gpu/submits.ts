/**
 * How a forward is cut where an adapter is slow: dispatches into ranges of their workgroups, and all of them
 * into submits.
 */
import { MAX_WORKGROUPS } from './workgroups.js';

/**
 * How long a submit may keep the GPU busy. Above this, pages stutter; at two seconds, Windows resets the
 * driver.
 */
export const SUBMIT_MS = 100;

/** Along x, y and z. */
export type Workgroups = readonly [number, number, number];

/** An axis of workgroups: x, y or z. */
export type Axis = 0 | 1 | 2;

/** A part of a dispatch's workgroups: a block of them. */
export interface Range {
  readonly first: Workgroups;
  readonly workgroups: Workgroups;
  readonly flops: number;
}

/**
 * Cuts a dispatch of `flops` into ranges of about the same size with at most `most` each, and of no more workgroups
 * along a cut axis than WebGPU allows. Where one workgroup alone is more, it is a range.
 *
 * @param axes along which it may be cut. The first one is cut; the next one only where a single step along the
 *   first is too much
 */
export function cutIntoRanges(
  workgroups: Workgroups,
  axes: readonly Axis[],
  flops: number,
  most: number,
): Range[] {
  const [axis, ...others] = axes;
  const count = axis === undefined ? 1 : workgroups[axis];
  // The margin is for rounding: a range of a range is as large as it was made.
  if (axis === undefined || (flops <= most * (1 + 1e-9) && count <= MAX_WORKGROUPS))
    return [{ first: [0, 0, 0], workgroups, flops }];
  const each = flops / count;
  const longest = Math.min(MAX_WORKGROUPS, Math.max(1, Math.floor(most / each)));
  const length = Math.ceil(count / Math.ceil(count / longest));
  const ranges: Range[] = [];
  for (let begin = 0; begin < count; begin += length) {
    const own = Math.min(length, count - begin);
    const along = ([x, y, z]: Workgroups, value: number): Workgroups =>
      axis === 0 ? [value, y, z] : axis === 1 ? [x, value, z] : [x, y, value];
    for (const range of cutIntoRanges(along(workgroups, own), others, each * own, most))
      ranges.push({ ...range, first: along(range.first, begin) });
  }
  return ranges;
}

/** Consecutive steps in batches of at most `flops` each, or of one step where that alone is more. */
export function splitByWork(
  steps: readonly { readonly flops: number }[],
  flops: number,
): { begin: number; end: number }[] {
  const batches: { begin: number; end: number }[] = [];
  let begin = 0;
  let sum = 0;
  steps.forEach((step, index) => {
    if (index > begin && sum + step.flops > flops) {
      batches.push({ begin, end: index });
      begin = index;
      sum = 0;
    }
    sum += step.flops;
  });
  batches.push({ begin, end: steps.length });
  return batches;
}
