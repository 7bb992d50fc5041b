/** Texts of the demo's pages. */
import { expect, it } from 'vitest';
import { shortName } from '../../demo/shared/format.js';

it('leaves a short name as it is', () => {
  expect(shortName('coffee')).toBe('coffee');
  expect(shortName('x'.repeat(40))).toBe('x'.repeat(40));
});

it('shortens a long name in its middle', () => {
  const short = shortName(`${'long '.repeat(60)}.jpg`);
  expect(short).toMatch(/^long long long long….*\.jpg$/);
  expect(Array.from(short).length).toBeLessThanOrEqual(40);
  expect(shortName('👩‍🚀'.repeat(50))).not.toMatch(/\p{Surrogate}/u);
});

it('isolates a name from right to left, or with marks of direction', () => {
  expect(shortName('قطة.png')).toBe('\u2068قطة.png\u2069');
  expect(shortName('\u05d7\u05ea.png')).toBe('\u2068\u05d7\u05ea.png\u2069');
  expect(shortName('\u202Egpj.exe.jpg')).toBe('\u2068gpj.exe.jpg\u2069');
});
