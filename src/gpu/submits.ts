/**
 * Cuts a forward pass into short submits on a slow adapter: a long dispatch into ranges of its workgroups,
 * and the list of dispatches into submits.
 */
import { MAX_WORKGROUPS } from './workgroups.js';

/**
 * Longest time that a submit may keep the GPU busy. Longer submits make pages stutter, and after two seconds
 * Windows resets the driver.
 */
export const SUBMIT_MS = 100;

/** Numbers of workgroups along x, y and z. */
export type Workgroups = readonly [number, number, number];

/** Index of an axis: x, y or z. */
export type Axis = 0 | 1 | 2;

/** A block of the workgroups of a dispatch. */
export interface Range {
  /** Position of the block's first workgroup along x, y and z. */
  readonly first: Workgroups;
  /** Numbers of workgroups of the block along x, y and z. */
  readonly workgroups: Workgroups;
  /** Floating-point operations of the block. */
  readonly flops: number;
}

/**
 * Cuts a dispatch into ranges of about the same size. Each range has at most `most` FLOPs, or is a single
 * workgroup. Along the axes in `axes`, each range has at most `MAX_WORKGROUPS` workgroups.
 *
 * @param axes axes along which the dispatch may be cut, in order of preference. An axis is used only if a
 *   range has too many FLOPs even when it is one workgroup wide along each of the earlier axes
 * @param flops floating-point operations of the whole dispatch
 */
export function cutIntoRanges(
  workgroups: Workgroups,
  axes: readonly Axis[],
  flops: number,
  most: number,
): Range[] {
  const [axis, ...others] = axes;
  const count = axis === undefined ? 1 : workgroups[axis];
  // The factor 1 + 1e-9 allows for rounding errors: a range of exactly `most` FLOPs is not cut again.
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

/**
 * Groups consecutive steps into submits of at most `flops` floating-point operations each. A single step
 * with more operations gets its own submit.
 */
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
