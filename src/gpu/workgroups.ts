/**
 * Provides the largest number of workgroups along an axis, and arranges larger numbers of workgroups in
 * lines.
 */

/** Largest number of workgroups along one axis of a dispatch: WebGPU's default limit. */
export const MAX_WORKGROUPS = 65_535;

/**
 * Arranges at least `count` workgroups along x and y: in one line along x, or in several lines if one line
 * would exceed `MAX_WORKGROUPS`. The lines together may have more than `count` workgroups.
 */
export function inLines(count: number): readonly [number, number] {
  const lines = Math.ceil(count / MAX_WORKGROUPS);
  return [Math.ceil(count / lines), lines];
}
