import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { parseSha256 } from '../../src/load/integrityOption.ts';
import { Sha256 } from '../../src/io/sha256.ts';
import { Random } from '../random.ts';

const wanted = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('Sha256', () => {
  test('equals OpenSSL for every length around two blocks', () => {
    for (let length = 0; length <= 200; length++) {
      const bytes = randomBytes(length);
      const hash = new Sha256();
      hash.update(bytes);
      expect(hash.digest()).toBe(wanted(bytes));
    }
  });

  test('does not depend on the division into portions', () => {
    const random = new Random(7);
    for (let run = 0; run < 50; run++) {
      const bytes = randomBytes(Math.floor(random.next() * 3000));
      const hash = new Sha256();
      for (let at = 0; at < bytes.length;) {
        const length = Math.floor(random.next() * 150);
        hash.update(bytes.subarray(at, at + length));
        at += length;
      }
      expect(hash.digest()).toBe(wanted(bytes));
    }
  });

  test('is parsed from hex and from an SRI string', () => {
    const hash = createHash('sha256').update('abc');
    const hex = hash.copy().digest('hex');
    expect(parseSha256(hex.toUpperCase())).toBe(hex);
    expect(parseSha256(`sha256-${hash.digest('base64')}`)).toBe(hex);
    for (const text of ['', 'abc', `sha384-${'A'.repeat(64)}`, hex.slice(1), `${hex}0`])
      expect(parseSha256(text)).toBeUndefined();
  });
});
