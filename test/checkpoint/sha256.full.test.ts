// The SHA-256 of a file with more than 2^32 bits.
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { Sha256 } from '../../src/io/sha256.ts';

test('counts beyond 2^32 bits', { timeout: 60_000 }, () => {
  const chunk = Uint8Array.from({ length: 2 ** 22 }, (_, i) => i % 251);
  const [found, wanted] = [new Sha256(), createHash('sha256')];
  for (let bytes = 0; bytes <= 2 ** 29; bytes += chunk.length) {
    found.update(chunk);
    wanted.update(chunk);
  }
  expect(found.digest()).toBe(wanted.digest('hex'));
});
