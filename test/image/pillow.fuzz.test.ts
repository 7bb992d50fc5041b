/**
 * Mutated PNG, GIF and BMP files against Pillow: what this library decodes has Pillow's pixels, bit for bit. In Node
 * the library decodes these formats itself. The results of Pillow are a fixture, which
 * scripts/make-fixtures/make_mutated.py writes.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ImageError } from '../../src/errors.ts';
import { decodeFile } from '../../src/image/decode.ts';
import { checkPixels } from '../../src/image/decodeErrors.ts';
import { readImageHeader } from '../../src/image/imageHeader.ts';
import { mutatedFiles, ORACLE, type Bytes } from './mutated.ts';

const pillow = JSON.parse(
  readFileSync(new URL('../fixtures/mutated/pillow.json', import.meta.url), 'utf8'),
) as Record<string, { files: string; pixels: string[] }>;

/**
 * What the library refuses although Pillow reads it: a PNG with two headers or with data before the header (Pillow
 * uses the last header), one whose header claims too many pixels, or far more than
 * its data can give, and a palette of no colours.
 */
const STRICTER =
  /one IHDR of 13 bytes as the first chunk|Pillow's limit|data that can inflate|a palette of whole RGB triples/;

/** The digest of the pixels, as in the fixture, or the error with which the library refuses the file. */
async function decoded(bytes: Bytes): Promise<string | ImageError> {
  try {
    const { width, height } = readImageHeader(bytes) ?? { width: 0, height: 0 };
    checkPixels('file', { width, height });
    if (width * height > LARGE) return '';
    const { image } = await decodeFile(bytes, 'file', '', { losesAlpha: () => Promise.resolve(true) });
    const rgb = (image as { data: Uint8Array }).data.filter((_, i) => i % 4 !== 3);
    return createHash('sha256').update(rgb).digest('hex').slice(0, 10);
  } catch (error) {
    if (error instanceof ImageError) return error;
    throw error;
  }
}

/** Pixels above which neither this test nor the fixture decodes a file. */
const LARGE = 2 ** 20;

test.each(ORACLE.endings)(`${ORACLE.files} files: %s`, { timeout: 60_000 }, async (ending) => {
  const expected = pillow[ending]!;
  const files = mutatedFiles(ending, ORACLE.seed);
  const every = createHash('sha256');
  const wrong: string[] = [];
  let stricter = 0;
  for (const [i, pixels] of expected.pixels.entries()) {
    const bytes = files.next().value;
    every.update(bytes);
    const found = await decoded(bytes);
    if (found === pixels || (found instanceof ImageError && pixels === '')) continue;
    if (found instanceof ImageError && ending === 'png' && STRICTER.test(found.message)) stricter += 1;
    else
      wrong.push(`file ${i}: expected ${pixels || 'a refusal'}, found ${String(found) || 'a large image'}`);
  }
  expect(every.digest('hex'), 'the files have changed: run make_mutated.py again').toBe(expected.files);
  expect(wrong).toEqual([]);
  expect(expected.pixels.filter((pixels) => pixels !== '').length).toBeGreaterThan(ORACLE.files / 10);
  expect(stricter).toBeLessThan(ORACLE.files / 20);
});
