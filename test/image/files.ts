/** Reads fixture files in Node. */
import { readdirSync, readFileSync } from 'node:fs';
import { PNG } from 'pngjs';
import type { Rgb } from '../reference/resize.js';
import type { SizeCase } from './fixtures.js';

const root = new URL('../../', import.meta.url);

export const read = (path: string): Uint8Array<ArrayBuffer> =>
  new Uint8Array(readFileSync(new URL(path, root)));

export const sizeCases = JSON.parse(
  new TextDecoder().decode(read('test/fixtures/pixels/cases.json')),
) as SizeCase[];

export const pngFiles = readdirSync(new URL('test/fixtures/pixels/images/', root)).filter((name) =>
  name.endsWith('.png'),
);

/** Decodes a PNG to bytes of shape (height, width, 4): red, green, blue, alpha. */
export function readPng(path: string): { data: Uint8Array; width: number; height: number } {
  return PNG.sync.read(Buffer.from(read(path)));
}

export function withoutAlpha({
  data,
  width,
  height,
}: {
  data: Uint8Array;
  width: number;
  height: number;
}): Rgb {
  return { data: data.filter((_, i) => i % 4 !== 3) as Uint8Array<ArrayBuffer>, width, height };
}
