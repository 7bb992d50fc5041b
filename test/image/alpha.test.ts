import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { hasAlpha } from '../../src/image/alpha.ts';

const folder = new URL('../fixtures/pixels/images/', import.meta.url);
const transparent = /alpha|rgba|transparency/;

test.each(readdirSync(folder))('%s: alpha or none, by its first bytes', (name) => {
  expect(hasAlpha(readFileSync(new URL(name, folder)))).toBe(transparent.test(name));
});

test.each([0, 1, 12, 25, 40])('%i bytes of a file are no reason to stumble', (length) => {
  for (const name of ['rgba.png', 'palette.png', 'alpha.webp']) {
    expect(() => hasAlpha(readFileSync(new URL(name, folder)).subarray(0, length))).not.toThrow();
  }
});
