/** Colours of a map in float64: references of the kernels of shaders/map_colors.wgsl. */

/** The smallest and the largest value. NaN is left out. */
export function mapRange(values: ArrayLike<number>): [low: number, high: number] {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** The colour of each value, (count, 4), not rounded. */
export function mapColors(
  values: ArrayLike<number>,
  [low, high]: readonly [number, number],
  stops: readonly (readonly number[])[],
): Float64Array {
  const colors = new Float64Array(4 * values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (Number.isNaN(value)) continue;
    const share = high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0.5;
    const place = share * (stops.length - 1);
    const stop = Math.min(Math.floor(place), stops.length - 2);
    for (let channel = 0; channel < 3; channel++) {
      const [from, to] = [stops[stop]![channel]!, stops[stop + 1]![channel]!];
      colors[4 * i + channel] = from + (to - from) * (place - stop);
    }
    colors[4 * i + 3] = 255;
  }
  return colors;
}
