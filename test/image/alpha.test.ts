import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { hasAlpha } from '../../src/image/alpha.ts';

const folder = new URL('../fixtures/pixels/images/', import.meta.url);
const transparent = new Set(['rgba.png', 'grey-alpha.png', 'palette-transparency.png', 'alpha.webp']);

test.each(readdirSync(folder))('%s: alpha or none, by its first bytes', async (name) => {
  expect(await hasAlpha(new Blob([readFileSync(new URL(name, folder))]))).toBe(transparent.has(name));
});

test.each([0, 1, 12, 25, 40])('%i bytes of a file are no reason to stumble', async (length) => {
  for (const name of ['rgba.png', 'palette.png', 'alpha.webp']) {
    await hasAlpha(new Blob([readFileSync(new URL(name, folder)).subarray(0, length)]));
  }
});
