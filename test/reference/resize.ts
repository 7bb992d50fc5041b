/**
 * Twin of shaders/resize.wgsl and of everything ahead of it: Pillow's resize as its C code does it
 * (python-pillow/Pillow, src/libImaging/Resample.c), one pixel at a time, with sums in float64, which holds
 * all of them exactly. It shares no code with src/image but the sizes of a `Geometry`.
 */
import type { Geometry } from '../../src/image/geometry.js';

/** 8-bit red, green, blue: (height, width, 3). */
export interface Rgb {
  readonly data: Uint8Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

/**
 * The largest magnitude that a sum of a weighted line has had so far, bias included: must stay below 2^31.
 */
export const sums = { largest: 0 };

interface Line {
  readonly sourceSize: number;
  readonly from: number;
  readonly weights: readonly number[];
}

/** Weights of one pixel of a resized line, times 2^22. */
function lineOf(sourceSize: number, resizedSize: number, index: number): Line {
  const scale = sourceSize / resizedSize;
  const filterScale = scale < 1 ? 1 : scale;
  const support = 2 * filterScale;
  const centre = (index + 0.5) * scale;
  let from = Math.trunc(centre - support + 0.5);
  if (from < 0) from = 0;
  let to = Math.trunc(centre + support + 0.5);
  if (to > sourceSize) to = sourceSize;
  const plain: number[] = [];
  for (let j = from; j < to; j++) {
    let x = (j - centre + 0.5) * (1 / filterScale);
    if (x < 0) x = -x;
    plain.push(x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0);
  }
  const sum = plain.reduce((a, b) => a + b, 0);
  const weights = plain.map((weight) => {
    const part = weight / sum;
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

/** The pixels that the model sees, still 8 bits a channel: (height, width, 3). */
export function resize(image: Rgb, geometry: Geometry): Uint8Array<ArrayBuffer> {
  const { sourceWidth, sourceHeight, resizedWidth, resizedHeight, left, top, width, height } = geometry;
  const columns = Array.from({ length: width }, (_, x) => lineOf(sourceWidth, resizedWidth, left + x));
  const rows = Array.from({ length: height }, (_, y) => lineOf(sourceHeight, resizedHeight, top + y));
  // PIL/Image.py, resize.
  if (sourceHeight > sourceWidth * 100 && resizedHeight < sourceHeight) {
    return transpose(twoPasses(transpose(image.data, sourceWidth), rows, columns), height);
  }
  return twoPasses(image.data, columns, rows);
}

/** `data` is (…, sourceWidth, 3); columns first. */
function twoPasses(
  data: Uint8Array,
  columns: readonly Line[],
  rows: readonly Line[],
): Uint8Array<ArrayBuffer> {
  const width = columns.length;
  const sourceWidth = columns[0]!.sourceSize;
  // Rows of the first pass, made when the second one first asks for them.
  const between = new Map<number, Uint8Array>();
  const betweenRow = (y: number): Uint8Array => {
    let row = between.get(y);
    if (!row) {
      row = new Uint8Array(width * 3);
      for (let i = 0; i < row.length; i++) {
        const column = columns[Math.floor(i / 3)]!;
        row[i] = weighted(column, (tap) => data[(y * sourceWidth + column.from + tap) * 3 + (i % 3)]!);
      }
      between.set(y, row);
    }
    return row;
  };
  const out = new Uint8Array(rows.length * width * 3);
  for (const [y, line] of rows.entries()) {
    const lines = line.weights.map((_, tap) => betweenRow(line.from + tap));
    for (let i = 0; i < width * 3; i++) out[y * width * 3 + i] = weighted(line, (tap) => lines[tap]![i]!);
  }
  return out;
}

/** (width, height, 3) from (height, width, 3). */
function transpose(data: Uint8Array, width: number): Uint8Array<ArrayBuffer> {
  const height = data.length / 3 / width;
  return Uint8Array.from(data, (_, i) => {
    const pixel = Math.floor(i / 3);
    return data[((pixel % height) * width + Math.floor(pixel / height)) * 3 + (i % 3)]!;
  });
}

/**
 * (3, height, width) from (height, width, 3), every byte replaced by its channel's level; `levels` is (3,
 * 256).
 */
export function normalize(bytes: Uint8Array, levels: Float32Array): Float32Array<ArrayBuffer> {
  const plane = bytes.length / 3;
  return Float32Array.from(
    { length: bytes.length },
    (_, i) => levels[Math.floor(i / plane) * 256 + bytes[(i % plane) * 3 + Math.floor(i / plane)]!]!,
  );
}
