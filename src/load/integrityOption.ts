/** Reads the option `integrity`. */
import { OptionError, SourceError } from '../errors.js';
import { hexOf } from '../numerics/hex.js';
import type { PretrainedOptions } from '../options.js';

/**
 * Returns the SHA-256 of each file, as 64 hexadecimal digits.
 * @param weights name of the file that a single hash belongs to
 * @throws OptionError OPTION_VALUE, if a text is no SHA-256
 */
export function hashesOf(
  integrity: NonNullable<PretrainedOptions['integrity']>,
  weights: string,
): Readonly<Record<string, string>> {
  const given = typeof integrity === 'string' ? { [weights]: integrity } : integrity;
  return Object.fromEntries(
    Object.entries(given).map(([file, text]) => {
      const hash = parseSha256(text);
      if (hash === undefined)
        throw new OptionError(
          'OPTION_VALUE',
          `integrity of ${file}: expected a SHA-256, 64 hexadecimal digits or sha256- and base64, found ${JSON.stringify(text).slice(0, 80)}.`,
        );
      return [file, hash];
    }),
  );
}

/**
 * Parses a SHA-256 hash: 64 hexadecimal digits, as the hub shows them, or `sha256-` followed by base64, as
 * in HTML's `integrity` attribute.
 * @returns 64 lower-case hexadecimal digits; undefined for any other text
 */
export function parseSha256(text: string): string | undefined {
  if (/^[0-9a-f]{64}$/i.test(text)) return text.toLowerCase();
  const base64 = /^sha256-([A-Za-z0-9+/]{43}=)$/.exec(text)?.[1];
  return base64 && hexOf(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
}

/** The error for a hash of a file that the load does not read. */
export const notRead = (file: string, files: readonly string[]): SourceError =>
  new SourceError(
    'SOURCE_INTEGRITY',
    `integrity: a hash is given for ${file}, which this load does not read. The files of this load are: ${files.join(', ').slice(0, 200)}.`,
  );
