/**
 * Helpers of the image tests: synthetic noise, fixture tensors and comparisons. Run in Node and in a browser.
 */
import { parseSafetensors } from '../../src/safetensors.js';
import type { Rgb } from '../reference/resize.js';

/** Pseudo-random bytes, the same as those of `noise` in scripts/make-fixtures/make_pixels.py. */
export function noise(name: string, length: number): Uint8Array<ArrayBuffer> {
  let state = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) state = Math.imul(state ^ byte, 0x01000193);
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    state = (state + 0x9e3779b9) | 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    bytes[i] = (x ^ (x >>> 16)) >>> 24;
  }
  return bytes;
}

export const noiseImage = (width: number, height: number): Rgb => ({
  data: noise(`${width}x${height}`, width * height * 3),
  width,
  height,
});

/** The shape of a tensor in a safetensors file, and a copy of its bytes. */
export function tensorOf(
  file: Uint8Array,
  name: string,
): { bytes: Uint8Array<ArrayBuffer>; shape: readonly number[] } {
  const info = parseSafetensors(file).tensors.get(name);
  if (!info) throw new Error(`The fixture has no tensor ${name}.`);
  return { bytes: file.slice(info.begin, info.end) as Uint8Array<ArrayBuffer>, shape: info.shape };
}

export const floatsOf = (file: Uint8Array, name: string): Float32Array<ArrayBuffer> =>
  new Float32Array(tensorOf(file, name).bytes.buffer);

/** Counts the floats that differ in any bit. */
export function differingFloats(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) throw new Error(`${a.length} floats against ${b.length}`);
  const [x, y] = [a, b].map((f) => new Uint32Array(f.buffer, f.byteOffset, f.length)) as [
    Uint32Array,
    Uint32Array,
  ];
  return x.reduce((count, bits, i) => count + (bits === y[i] ? 0 : 1), 0);
}

/** The number of bytes that differ, and the largest difference. */
export function difference(a: Uint8Array, b: Uint8Array): { bytes: number; most: number } {
  if (a.length !== b.length) throw new Error(`${a.length} bytes against ${b.length}`);
  let bytes = 0;
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const away = Math.abs(a[i]! - b[i]!);
    if (away > 0) bytes += 1;
    most = Math.max(most, away);
  }
  return { bytes, most };
}

/** The 8-bit values (height, width, 3) from which normalised pixels (3, height, width) were computed. */
export function bytesOfPixels(pixels: Float32Array, levels: Float32Array): Uint8Array<ArrayBuffer> {
  const plane = pixels.length / 3;
  const values = [0, 1, 2].map(
    (channel) => new Map(Array.from({ length: 256 }, (_, value) => [levels[channel * 256 + value]!, value])),
  );
  return Uint8Array.from({ length: pixels.length }, (_, i) => {
    const value = values[i % 3]!.get(pixels[(i % 3) * plane + Math.floor(i / 3)]!);
    if (value === undefined) throw new Error(`Pixel ${i} is ${pixels[i]}, which no 8-bit value gives.`);
    return value;
  });
}

/** The first 16 hex digits of the SHA-256. */
export async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return [...hash.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

export interface SizeCase {
  readonly width: number;
  readonly height: number;
  readonly resize: 'crop' | 'fit' | 'square';
  readonly cropSize?: number;
  readonly shortestEdge?: number;
  readonly longestSide?: number;
  readonly size?: number;
  readonly outputWidth?: number;
  readonly outputHeight?: number;
  readonly sha256: string;
}

/** Applies an Exif orientation (1 to 8) to an image of shape (height, width, 3). */
export function upright({ data, width, height }: Rgb, orientation: number): Rgb {
  const sideways = orientation >= 5;
  const [w, h] = sideways ? [height, width] : [width, height];
  const turned = Uint8Array.from({ length: data.length }, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % w, Math.floor(i / 3 / w)];
    const [u, v] = sideways ? [y, x] : [x, y];
    const column = [2, 3, 7, 8].includes(orientation) ? width - 1 - u : u;
    const row = [3, 4, 6, 7].includes(orientation) ? height - 1 - v : v;
    return data[(row * width + column) * 3 + (i % 3)]!;
  });
  return { data: turned, width: w, height: h };
}
