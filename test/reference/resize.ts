/**
 * Reference of shaders/resize.wgsl and the computation of its tables: follows Pillow's C code
 * (python-pillow/Pillow, src/libImaging/Resample.c) pixel by pixel. Sums are in float64, which represents all of them
 * exactly. Independent of src/image, except for the sizes in a `Geometry`.
 */
import type { Resample } from '../../src/image/coefficients.js';
import type { Geometry } from '../../src/image/geometry.js';

/** An image of 8-bit red, green and blue values (height, width, 3). */
export interface Rgb {
  readonly data: Uint8Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

/**
 * Records the largest magnitude of any weighted sum so far, bias included. Tests check that it is below 2^31.
 */
export const sums = { largest: 0 };

interface Line {
  readonly sourceSize: number;
  readonly from: number;
  readonly weights: readonly number[];
}

/** The filters of Resample.c: half the width of each, and its weight at a distance. */
const filters: Record<string, { readonly reach: number; readonly at: (x: number) => number }> = {
  box: { reach: 0.5, at: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { reach: 1, at: (x) => (Math.abs(x) < 1 ? 1 - Math.abs(x) : 0) },
  hamming: {
    reach: 1,
    at: (x) => {
      const d = x < 0 ? -x : x;
      if (d === 0) return 1;
      if (d >= 1) return 0;
      const [a, b] = new Float32Array([0.54, 0.46]) as unknown as [number, number];
      return (Math.sin(d * Math.PI) / (d * Math.PI)) * (a + b * Math.cos(d * Math.PI));
    },
  },
  bicubic: {
    reach: 2,
    at: (x) => {
      const d = x < 0 ? -x : x;
      return d < 1 ? (1.5 * d - 2.5) * d * d + 1 : d < 2 ? (((d - 5) * d + 8) * d - 4) * -0.5 : 0;
    },
  },
  lanczos: {
    reach: 3,
    at: (x) => {
      const sinc = (v: number): number => (v === 0 ? 1 : Math.sin(v * Math.PI) / (v * Math.PI));
      return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0;
    },
  },
};

/** Weights of one pixel of a resized line, scaled by 2^22; undefined outside the line. */
function lineOf(
  sourceSize: number,
  resizedSize: number,
  index: number,
  resample: Resample,
): Line | undefined {
  if (index < 0 || index >= resizedSize) return undefined;
  if (sourceSize === resizedSize) return { sourceSize, from: index, weights: [4194304] };
  if (resample === 'nearest') {
    // As ImagingScaleAffine in Pillow's Geometry.c.
    let at = (sourceSize / resizedSize) * 0.5;
    for (let i = 0; i < index; i++) at += sourceSize / resizedSize;
    return { sourceSize, from: Math.trunc(at), weights: [4194304] };
  }
  const filter = filters[resample]!;
  const scale = sourceSize / resizedSize;
  const filterScale = scale < 1 ? 1 : scale;
  const support = filter.reach * filterScale;
  const centre = (index + 0.5) * scale;
  let from = Math.trunc(centre - support + 0.5);
  if (from < 0) from = 0;
  let to = Math.trunc(centre + support + 0.5);
  if (to > sourceSize) to = sourceSize;
  const plain: number[] = [];
  for (let j = from; j < to; j++) {
    plain.push(filter.at((j - centre + 0.5) * (1 / filterScale)));
  }
  const sum = plain.reduce((a, b) => a + b, 0);
  const weights = plain.map((weight) => {
    const part = sum === 0 ? weight : weight / sum;
    return part < 0 ? Math.trunc(-0.5 + part * 4194304) : Math.trunc(0.5 + part * 4194304);
  });
  return { sourceSize, from, weights };
}

function weighted({ weights }: Line, at: (tap: number) => number): number {
  let sum = 2 ** 21;
  for (let tap = 0; tap < weights.length; tap++) {
    sum += at(tap) * weights[tap]!;
    sums.largest = Math.max(sums.largest, Math.abs(sum));
  }
  return Math.min(255, Math.max(0, Math.floor(sum / 2 ** 22)));
}

/** Resizes and crops an image to the model's input, 8 bits per channel: (height, width, 3). */
export function resize(
  image: Rgb,
  geometry: Geometry,
  resample: Resample = 'bicubic',
): Uint8Array<ArrayBuffer> {
  const { sourceWidth, sourceHeight, resizedWidth, resizedHeight, left, top, width, height, fill } = geometry;
  const columns = Array.from({ length: width }, (_, x) =>
    lineOf(sourceWidth, resizedWidth, left + x, resample),
  );
  const rows = Array.from({ length: height }, (_, y) =>
    lineOf(sourceHeight, resizedHeight, top + y, resample),
  );
  // As `resize` in PIL/Image.py.
  if (sourceHeight > sourceWidth * 100 && resizedHeight < sourceHeight) {
    return transpose(
      twoPasses(transpose(image.data, sourceWidth), sourceHeight, rows, columns, fill),
      height,
    );
  }
  return twoPasses(image.data, sourceWidth, columns, rows, fill);
}

/** Resizes `data` (sourceHeight, sourceWidth, 3) along x, then along y. */
function twoPasses(
  data: Uint8Array,
  sourceWidth: number,
  columns: readonly (Line | undefined)[],
  rows: readonly (Line | undefined)[],
  fill: readonly number[],
): Uint8Array<ArrayBuffer> {
  const width = columns.length;
  // Rows of the first pass, computed at their first use in the second pass.
  const between = new Map<number, Uint8Array>();
  const betweenRow = (y: number): Uint8Array => {
    let row = between.get(y);
    if (!row) {
      row = new Uint8Array(width * 3);
      for (let i = 0; i < row.length; i++) {
        const column = columns[Math.floor(i / 3)];
        if (column)
          row[i] = weighted(column, (tap) => data[(y * sourceWidth + column.from + tap) * 3 + (i % 3)]!);
      }
      between.set(y, row);
    }
    return row;
  };
  const out = new Uint8Array(rows.length * width * 3);
  for (const [y, line] of rows.entries()) {
    const lines = line?.weights.map((_, tap) => betweenRow(line.from + tap));
    for (let i = 0; i < width * 3; i++) {
      const isInside = lines && columns[Math.floor(i / 3)];
      out[y * width * 3 + i] = isInside ? weighted(line!, (tap) => lines[tap]![i]!) : fill[i % 3]!;
    }
  }
  return out;
}

/** Transposes (height, width, 3) to (width, height, 3). */
function transpose(data: Uint8Array, width: number): Uint8Array<ArrayBuffer> {
  const height = data.length / 3 / width;
  return Uint8Array.from(data, (_, i) => {
    const pixel = Math.floor(i / 3);
    return data[((pixel % height) * width + Math.floor(pixel / height)) * 3 + (i % 3)]!;
  });
}

/**
 * Converts bytes (height, width, 3) to pixels (3, height, width): each byte is replaced by its value in `levels`
 * (3, 256).
 */
export function normalize(bytes: Uint8Array, levels: Float32Array): Float32Array<ArrayBuffer> {
  const plane = bytes.length / 3;
  return Float32Array.from(
    { length: bytes.length },
    (_, i) => levels[Math.floor(i / plane) * 256 + bytes[(i % plane) * 3 + Math.floor(i / plane)]!]!,
  );
}
