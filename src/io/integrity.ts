/** Computes and compares the SHA-256 hashes with which a caller pins files. */
import { SourceError } from '../errors.js';
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
