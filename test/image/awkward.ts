/**
 * Awkward files (scripts/make-fixtures/make_awkward.py, make_awkward_jpeg.py, make_awkward_bmp.py), in
 * whatever reads them, against
 * Pillow. Runs in Node and in a browser.
 */
import { parseSafetensors } from '../../src/safetensors.js';
import type { Orientation } from '../../src/image/source.js';
import { digest, tensorOf } from './fixtures.js';

/** SHA-256 (16 digits) of the bytes of `convert('RGB')`; null where Pillow refuses the file. */
export type Expected = Record<string, { asItLies: string; upright?: string } | null>;

/** What is read of a file: the bytes (height, width, 3). */
export type Read = (file: Blob, orientation: Orientation) => Promise<Uint8Array<ArrayBuffer>>;

/** The fixtures: NAME.safetensors holds files, NAME.json what Pillow makes of them. */
export const FIXTURES = ['awkward', 'jpeg', 'bmp'] as const;

/** JPEGs with arithmetic coding are refused: browsers do not decode them. Pillow does. */
const ARITHMETIC = /^arithmetic/;

/** What differs from Pillow: pixels, or files that are refused by one alone. Nothing is left out. */
export async function awkwardThatDiffer(
  file: Uint8Array,
  expected: Expected,
  read: Read,
  which: (name: string) => boolean = () => true,
): Promise<Record<string, string>> {
  const differing: Record<string, string> = {};
  for (const name of parseSafetensors(file).tensors.keys()) {
    if (!which(name)) continue;
    const python = ARITHMETIC.test(name) ? null : expected[name];
    const ways = python
      ? Object.entries(python).filter(([way, hash]) => way === 'upright' || hash !== python.upright)
      : [['asItLies', undefined]];
    for (const [way, hash] of ways) {
      const blob = new File([tensorOf(file, name).bytes], name);
      const found = await read(blob, way === 'upright' ? 'respect' : 'ignore').then(
        digest,
        (error: unknown) => (isRefusal(error, name) ? undefined : String(error)),
      );
      if (found !== hash) differing[name] = `${way}: ${found ?? 'refused'} in place of ${hash ?? 'an error'}`;
    }
  }
  return differing;
}

const isRefusal = (error: unknown, name: string): boolean =>
  error instanceof Error &&
  (error as { code?: string }).code === 'IMAGE_DECODE' &&
  new RegExp(`^${name}: (expected .*, found .*|the .* file ends too early: .*)\\. [A-Z].*\\.$`).test(
    error.message,
  );
