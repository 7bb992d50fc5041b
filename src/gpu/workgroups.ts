/** Limits and shapes of dispatches. */

/** Largest number of workgroups along one axis of a dispatch: WebGPU's default limit. */
export const MAX_WORKGROUPS = 65_535;

/**
 * Arranges at least `count` workgroups along x and y: one line along x, or several lines if one would exceed
 * MAX_WORKGROUPS. The last line may have workgroups beyond `count`.
 */
export function inLines(count: number): readonly [number, number] {
  const lines = Math.ceil(count / MAX_WORKGROUPS);
  return [Math.ceil(count / lines), lines];
}
