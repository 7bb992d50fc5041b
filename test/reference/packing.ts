/** Reference of src/weights/packing.ts, which packs a complete matrix at once. */

const PANEL_COLUMNS = 64;
const PANEL_K = 32;

/**
 * weight (rows, columns) → panels (ceil(rows / 64), columns padded to a multiple of 32, 64), padded with zeros.
 */
export function packPanels(rows: number, columns: number, weight: Float32Array): Float32Array<ArrayBuffer> {
  const panels = Math.ceil(rows / PANEL_COLUMNS);
  const depth = Math.ceil(columns / PANEL_K) * PANEL_K;
  const out = new Float32Array(panels * depth * PANEL_COLUMNS);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < columns; k++) {
      const panel = Math.floor(row / PANEL_COLUMNS);
      out[(panel * depth + k) * PANEL_COLUMNS + (row % PANEL_COLUMNS)] = weight[row * columns + k]!;
    }
  }
  return out;
}
