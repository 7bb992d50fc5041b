/** Reference of shaders/count_not_finite.wgsl: one row of `found`. */
export function countNotFinite(
  values: Float32Array,
): [first: number, nanCount: number, infinityCount: number] {
  const first = values.findIndex((value) => !Number.isFinite(value));
  return [
    first < 0 ? 2 ** 32 - 1 : first,
    values.filter((value) => Number.isNaN(value)).length,
    values.filter((value) => Math.abs(value) === Infinity).length,
  ];
}
