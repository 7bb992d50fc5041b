/**
 * Reference of int8 packing in src/weights/packing.ts: quantizes a complete matrix.
 */

const PANEL_COLUMNS = 64;
const PANEL_K = 32;

export interface Quantized {
  /** The dequantized weights (rows, columns): an integer times the scale of the row. */
  readonly values: Float32Array<ArrayBuffer>;
  /** The packed matrix: panels of bytes, then the scales. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export function quantize(rows: number, columns: number, weight: Float32Array): Quantized {
  const panels = Math.ceil(rows / PANEL_COLUMNS);
  const depth = Math.ceil(columns / PANEL_K) * PANEL_K;
  const values = new Float32Array(rows * columns);
  const packed = new Int8Array(panels * depth * PANEL_COLUMNS);
  const scales = new Float32Array(panels * PANEL_COLUMNS);
  for (let row = 0; row < rows; row++) {
    const largest = Math.max(...weight.subarray(row * columns, (row + 1) * columns).map(Math.abs));
    scales[row] = largest / 127 < 2 ** -126 ? 0 : largest / 127;
    for (let k = 0; k < columns; k++) {
      const whole = scales[row] === 0 ? 0 : Math.round(weight[row * columns + k]! / scales[row]!);
      packed[(Math.floor(row / PANEL_COLUMNS) * depth + k) * PANEL_COLUMNS + (row % PANEL_COLUMNS)] = whole;
      values[row * columns + k] = scales[row]! * whole;
    }
  }
  const bytes = new Uint8Array(packed.length + scales.byteLength);
  bytes.set(new Uint8Array(packed.buffer));
  bytes.set(new Uint8Array(scales.buffer), packed.length);
  return { values, bytes };
}
