/**
 * The format of a cache entry, which stores the files of one source unchanged.
 *
 *     manifest                                      files of the source: JSON
 *     model.safetensors-0, model.safetensors-1 …    a weights file in blocks of 4 MiB
 *
 * Each file begins with a checksum: the SHA-256 of its position and its bytes. So the checksum shows
 * whether a stored block belongs to this position of this version of the file. A block that is damaged,
 * missing or left over from a different entry is fetched again. An entry is complete if all its files
 * exist; the format has no other mark for a complete entry.
 */
import { concat } from '../io/sources.js';
import { hexOf } from '../numerics/hex.js';
import type { CacheFolder } from '../storage/store.js';

/**
 * Version of the format of cache entries. Entries of other formats are not read. Formats 1 to 4 held packed
 * weights.
 */
export const CACHE_FORMAT = 5;
export const BLOCK_BYTES: number = 2 ** 22;

export type Bytes = Uint8Array<ArrayBuffer>;

/** A weights file of a cache entry. */
export interface CachedFile {
  readonly name: string;
  readonly fileBytes: number;
  /** Identifies the version on the server (`validatorOf`); undefined if the server sends no validator. */
  readonly validator: string | undefined;
}

/** Identifies a cache entry: the model's id and folder, and the hashes that the caller demands. */
export interface CacheIdentity {
  /** The argument of `fromPretrained`: an id of the hub, or the URL of a folder. */
  readonly id: string;
  /** The URL of the folder. */
  readonly folder: string;
  /**
   * SHA-256 in hexadecimal digits by file name. If all blocks of a file are stored, the file has passed the
   * check against its hash.
   */
  readonly integrity: Readonly<Record<string, string>>;
}

/** Content of a cache entry's manifest, which lists the files of the checkpoint. */
export interface Manifest extends CacheIdentity {
  readonly format: number;
  /** Random text that distinguishes the blocks of this manifest from the blocks of an earlier manifest. */
  readonly nonce: string;
  /** Contents of the small files by name, such as config.json; null: the source has no such file. */
  readonly texts: Readonly<Record<string, string | null>>;
  readonly files: readonly CachedFile[];
}

/** Returns the size of all weights files in bytes. */
export const weightsBytes = ({ files }: Pick<Manifest, 'files'>): number =>
  files.reduce((sum, { fileBytes }) => sum + fileBytes, 0);

export const blockName = (file: string, block: number): string => `${file}-${block}`;

export const MANIFEST = 'manifest';
const CHECKSUM_BYTES = 32;

const digest = async (bytes: Bytes): Promise<Bytes> =>
  new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
export const encode = (value: unknown): Bytes => new TextEncoder().encode(JSON.stringify(value));

/**
 * Computes the checksum of a stored file: the hash of its position and its bytes.
 * @param position identifies the bytes: entry, file, version and block
 */
const checksumOf = async (position: unknown, bytes: Bytes): Promise<Bytes> => {
  const [hash, text] = [await digest(bytes), encode(position)];
  return digest(concat([hash, text], hash.length + text.length));
};

/**
 * Returns the bytes of a stored file; undefined if the file is missing, unreadable, damaged or belongs to a
 * different entry, file, version or block.
 */
export async function readChecked(
  folder: CacheFolder | undefined,
  name: string,
  position: unknown,
): Promise<Bytes | undefined> {
  try {
    const blob = await folder?.read(name);
    if (!blob) return undefined;
    const all = new Uint8Array(await blob.arrayBuffer());
    const bytes = all.subarray(CHECKSUM_BYTES);
    const checksum = await checksumOf(position, bytes);
    return checksum.every((byte, i) => byte === all[i]) ? bytes : undefined;
  } catch {
    return undefined;
  }
}

/** Writes a file with its checksum. */
export async function writeChecked(
  folder: CacheFolder,
  name: string,
  position: unknown,
  bytes: Bytes,
): Promise<void> {
  const body = new Blob([bytes]); // a copy, because the buffer is reused
  await folder.write(name, new Blob([await checksumOf(position, bytes), body]));
}

/** Returns the name of a cache entry's folder, given the URL of the checkpoint's folder. */
export async function cacheKey(folder: string): Promise<string> {
  const hash = await digest(encode(folder));
  return `v${CACHE_FORMAT}-${hexOf(hash.subarray(0, 16))}`;
}

/** Returns the manifest in a folder; undefined if it is missing or damaged. Writes nothing. */
export async function readManifest(folder: CacheFolder | undefined): Promise<Manifest | undefined> {
  const bytes = await readChecked(folder, MANIFEST, MANIFEST);
  const manifest = bytes && (JSON.parse(new TextDecoder().decode(bytes)) as Manifest);
  return manifest?.format === CACHE_FORMAT ? manifest : undefined;
}

/** Returns the names of all files of a cache entry. */
export const namesOf = ({ files }: Pick<Manifest, 'files'>): string[] => [
  MANIFEST,
  ...files.flatMap(({ name, fileBytes }) =>
    Array.from({ length: Math.ceil(fileBytes / BLOCK_BYTES) }, (_, block) => blockName(name, block)),
  ),
];
