/** Parses, computes and compares the SHA-256 hashes with which a caller pins files. */
import { SourceError } from '../errors.js';
import { hexOf } from '../numerics/hex.js';
import { loadPart } from '../platform/part.js';
import type { Sha256 } from './sha256.js';

/**
 * Starts to compute the SHA-256 hash of bytes that arrive in portions. @throws SourceError SOURCE_FETCH if
 * the module with SHA-256 cannot be loaded
 */
export async function startSha256(): Promise<Sha256> {
  const { Sha256: Hash } = await loadPart(import('./sha256.js'));
  return new Hash();
}

/**
 * Compares a file's SHA-256 hash with the hash that the caller demands. Both are undefined if the caller
 * demands no hash.
 * @throws SourceError SOURCE_INTEGRITY if the hashes differ
 */
export function checkDigest(name: string, expected: string | undefined, found: string | undefined): void {
  if (found === expected) return;
  throw new SourceError(
    'SOURCE_INTEGRITY',
    `${name}: expected the SHA-256 ${expected}, found ${found}. The file is not the one that was requested: check the hash, or get the file from its origin.`,
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
