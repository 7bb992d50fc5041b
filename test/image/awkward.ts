/**
 * Compares an image decoder with Pillow on unusual and damaged files (scripts/make-fixtures/make_awkward.py,
 * make_awkward_jpeg.py, make_awkward_bmp.py). Runs in Node and in a browser.
 */
import { parseSafetensors } from '../../src/safetensors.js';
import type { Orientation } from '../../src/image/source.js';
import { digest, tensorOf } from './fixtures.js';

/** First 16 hex digits of the SHA-256 of Pillow's `convert('RGB')` bytes; null if Pillow rejects the file. */
export type Expected = Record<string, { asItLies: string; upright?: string } | null>;

/** Decodes an image file to bytes of shape (height, width, 3). */
export type Read = (file: Blob, orientation: Orientation) => Promise<Uint8Array<ArrayBuffer>>;

/** Fixture names: NAME.safetensors holds the image files, NAME.json Pillow's results for them. */
export const FIXTURES = ['awkward', 'jpeg', 'bmp'] as const;

/** JPEGs with arithmetic coding, which this library rejects because browsers cannot decode them. Pillow can. */
const ARITHMETIC = /^arithmetic/;

/** Returns the files whose pixels differ from Pillow's, or that only one of the two decoders rejects, by name. */
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
