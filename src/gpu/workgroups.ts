/** How many workgroups go where. */
/** Workgroups along one axis, of which WebGPU allows this many. */
export const MAX_WORKGROUPS = 65_535;

/** `count` workgroups in one line, or in several where one would be too long. */
export function inLines(count: number): readonly [number, number] {
  const lines = Math.ceil(count / MAX_WORKGROUPS);
  return [Math.ceil(count / lines), lines];
}
