/** Float64 reference of shaders/ceiling.wgsl. */

/** The sum of the eight multiply-add chains of every lane, after `rounds` rounds of eight steps. */
export function multiplyAdd(lanes: number, rounds: number, factor: number, addend: number): Float64Array {
  const sums = new Float64Array(lanes);
  for (let at = 0; at < lanes; at++) {
    for (let chain = 1; chain <= 8; chain++) {
      let value = (at % 64) * 0.001 + chain / 10;
      for (let step = 0; step < 8 * rounds; step++) value = value * factor + addend;
      sums[at]! += value;
    }
  }
  return sums;
}
