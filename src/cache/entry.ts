/**
 * A cache entry, which holds the files of one checkpoint, unchanged.
 *
 *     manifest                                      files of the source: JSON
 *     model.safetensors-0, model.safetensors-1 …    a weights file in blocks of 4 MiB
 *
 * Each stored file begins with a checksum: the SHA-256 of its position (entry, file, version, block) and its
 * bytes. So the checksum proves that a block belongs to this version and place of this file. A block that is
 * damaged, missing or left over from an earlier entry is fetched again. No marker records that an entry is
 * complete.
 */
import { SourceError } from '../errors.js';
import { concat, isMissing } from '../io/sources.js';
import { hexOf } from '../numerics/hex.js';
import type { LoadReport } from '../options.js';
import type { CacheFolder, CacheStore } from '../storage/store.js';
import { CacheSource } from './cacheSource.js';

/** Version of the format. Entries in other formats are not read. Formats 1 to 4 held packed weights. */
const CACHE_FORMAT = 5;
export const BLOCK_BYTES: number = 2 ** 22;

type Bytes = Uint8Array<ArrayBuffer>;

/** A weights file of an entry. */
export interface CachedFile {
  readonly name: string;
  readonly fileBytes: number;
  /**
   * Identifies the version of the file on its server (`validatorOf`); undefined if the server sends neither
   * ETag nor Last-Modified.
   */
  readonly validator: string | undefined;
}

/**
 * Identifies a cache entry: the model's id and folder, and the hashes with which the caller pins its files.
 */
export interface CacheIdentity {
  /** The argument of `fromPretrained`: a hub id, or the URL of a folder. */
  readonly id: string;
  /** The URL of the model's folder. */
  readonly folder: string;
  /**
   * SHA-256 in hexadecimal digits, by file name. If all blocks of such a file are stored, the file was
   * checked against its hash.
   */
  readonly integrity: Readonly<Record<string, string>>;
}

/** Content of a cache entry's manifest. */
export interface Manifest extends CacheIdentity {
  readonly format: number;
  /** A random text that distinguishes the blocks of this manifest from the blocks of an earlier manifest. */
  readonly nonce: string;
  /** Contents of the small files by name, such as config.json; null if the source has no such file. */
  readonly texts: Readonly<Record<string, string | null>>;
  readonly files: readonly CachedFile[];
}

/** The total size of all weights files in bytes. */
export const weightsBytes = ({ files }: Pick<Manifest, 'files'>): number =>
  files.reduce((sum, { fileBytes }) => sum + fileBytes, 0);

export const blockName = (file: string, block: number): string => `${file}-${block}`;

const MANIFEST = 'manifest';
const CHECKSUM_BYTES = 32;

const digest = async (bytes: Bytes): Promise<Bytes> =>
  new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
const encode = (value: unknown): Bytes => new TextEncoder().encode(JSON.stringify(value));

/** @param position what the bytes are: entry, file, version and block */
const checksumOf = async (position: unknown, bytes: Bytes): Promise<Bytes> => {
  const [hash, text] = [await digest(bytes), encode(position)];
  return digest(concat([hash, text], hash.length + text.length));
};

/**
 * The bytes of a stored file; undefined if the file is missing, unreadable or damaged, or is stored under
 * the wrong name.
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

async function writeChecked(
  folder: CacheFolder,
  name: string,
  position: unknown,
  bytes: Bytes,
): Promise<void> {
  const body = new Blob([bytes]); // a Blob copies the bytes, which is necessary because the buffer is reused
  await folder.write(name, new Blob([await checksumOf(position, bytes), body]));
}

/** The name of a cache entry's folder, derived from the URL of the model's folder. */
export async function cacheKey(folder: string): Promise<string> {
  const hash = await digest(encode(folder));
  return `v${CACHE_FORMAT}-${hexOf(hash.subarray(0, 16))}`;
}

/** The manifest in a cache folder; undefined if the manifest is missing or damaged. Writes nothing. */
export async function readManifest(folder: CacheFolder | undefined): Promise<Manifest | undefined> {
  const bytes = await readChecked(folder, MANIFEST, MANIFEST);
  const manifest = bytes && (JSON.parse(new TextDecoder().decode(bytes)) as Manifest);
  return manifest?.format === CACHE_FORMAT ? manifest : undefined;
}

/** The names of all files of an entry. */
export const namesOf = ({ files }: Pick<Manifest, 'files'>): string[] => [
  MANIFEST,
  ...files.flatMap(({ name, fileBytes }) =>
    Array.from({ length: Math.ceil(fileBytes / BLOCK_BYTES) }, (_, block) => blockName(name, block)),
  ),
];

/** Removes all files of a cache folder except the named files. */
async function tidy(folder: CacheFolder, names: readonly string[] = []): Promise<void> {
  const known = new Set(names);
  for (const name of await folder.names()) if (!known.has(name)) await folder.remove(name);
}

/**
 * Removes entries in older formats. Entries in newer formats belong to a different version of the library,
 * and are left alone.
 */
async function removeOlder(store: CacheStore): Promise<void> {
  for (const key of await store.keys())
    if (Number(/^v(\d+)-/.exec(key)?.[1] ?? Infinity) < CACHE_FORMAT) await store.remove(key);
}

/**
 * Reads the files of one load: stored blocks come from the cache. All other blocks come from the network,
 * and are then stored.
 */
export class CacheEntry {
  /** The manifest of an earlier load of the same files, which this load resumes or repeats. */
  readonly kept: Manifest | undefined;
  readonly nonce: string;
  readonly counts = { fetchedBytes: 0, cachedBytes: 0 };
  /** Why writing has stopped: a text, or the error that was thrown. Undefined while writing works. */
  failure: unknown;
  /** The entry's folder. Before `begin`, undefined if the folder does not exist yet. */
  folder: CacheFolder | undefined;
  readonly #store: CacheStore;
  readonly #key: string;
  readonly #identity: CacheIdentity;
  readonly #texts: Record<string, string | null> = {};
  readonly #sources: CacheSource[] = [];
  #names: Promise<Set<string>> | undefined;
  #begun: boolean;
  #manifest: Promise<void> | undefined;
  #writing: Promise<void> | undefined;

  constructor(
    store: CacheStore,
    key: string,
    folder: CacheFolder | undefined,
    identity: CacheIdentity,
    kept?: Manifest,
  ) {
    this.#store = store;
    this.#key = key;
    this.folder = folder;
    this.#identity = identity;
    this.kept = kept;
    this.nonce = kept?.nonce ?? crypto.randomUUID();
    this.#begun = kept !== undefined;
  }

  /**
   * The bytes of a small file, from the cache, or from `read` if the cache does not have the file.
   * @throws SourceError with status 404 if the cache records that the source has no such file
   */
  async text(name: string, read: () => Promise<Bytes>): Promise<Bytes> {
    const known = this.kept?.texts[name];
    if (typeof known === 'string') return new TextEncoder().encode(known);
    if (known === null) throw this.absent(name);
    try {
      const bytes = await read();
      this.#texts[name] = new TextDecoder().decode(bytes);
      return bytes;
    } catch (error) {
      if (isMissing(error)) this.#texts[name] = null;
      throw error;
    }
  }

  /** Names of the files in the entry's folder. A listed file may be empty or damaged. */
  names(): Promise<Set<string>> {
    const found = this.kept ? this.folder?.names().catch(() => []) : undefined;
    return (this.#names ??= Promise.resolve(found).then((names) => new Set(names)));
  }

  /** Makes the reader of a weights file. */
  source(name: string, url: string, sha256: string | undefined): CacheSource {
    return new CacheSource(this, name, url, sha256);
  }

  /** Adds a weights file, which has been opened, to the entry. */
  opened(source: CacheSource): void {
    this.#sources.push(source);
  }

  absent(name: string): SourceError {
    return new SourceError(
      'SOURCE_FETCH',
      `${this.#identity.folder}${name}: the server had no such file when the model was cached. If the server has the file now, call removeCached for this model and load again.`,
      { status: 404 },
    );
  }

  /**
   * Prepares the entry for writing, once all files are open. Never rejects.
   * @param not why nothing may be cached; undefined if caching is allowed
   */
  async begin(not: string | undefined, persist: boolean): Promise<void> {
    this.failure ??= not;
    if (this.failure !== undefined) return;
    const { kept } = this;
    if (kept) {
      await tidy(this.folder!, namesOf(kept)).catch(() => undefined); // a failure is ignored, because surplus files do no harm
      return;
    }
    try {
      const storage: Partial<StorageManager> = globalThis.navigator?.storage ?? {}; // workers lack `persist`
      if (persist) void storage.persist?.().catch(() => undefined); // some browsers ask the user; no load waits for the answer
      this.folder ??= await this.#store.folder(this.#key);
      await tidy(this.folder); // first frees the space that an older version takes
      await removeOlder(this.#store);
      const bytes = this.#sources.reduce((sum, { fileBytes = 0 }) => sum + fileBytes, 0);
      const { quota = Infinity, usage = 0 } = (await storage.estimate?.()) ?? {};
      // The quota is an estimate, so a write may still fail later. But no entry is begun that cannot fit.
      if (quota - usage < bytes)
        this.failure = `the weights need ${bytes} bytes of storage, and the browser grants ${quota - usage}`;
      // If a file has no validator, an interrupted download cannot be resumed, so the manifest is written
      // last.
      else if (this.#sources.every((source) => source.resumable)) await this.#writeManifest();
    } catch (error) {
      this.failure = error;
    }
    this.#begun = true;
  }

  /** Writes a block. Never rejects. */
  async write(name: string, position: unknown, bytes: Bytes): Promise<void> {
    if (!this.#begun) this.failure ??= 'the header of its file is longer than a block of the cache';
    if (this.failure !== undefined) return;
    this.#writing = writeChecked(this.folder!, name, position, bytes).catch(
      (error: unknown) => void (this.failure ??= error),
    );
    await this.#writing;
  }

  /**
   * Completes the entry after everything was read, or removes the entry if a write has failed. Never
   * rejects.
   */
  async finish(): Promise<void> {
    try {
      if (!this.kept && this.failure === undefined) await this.#writeManifest();
    } catch (error) {
      this.failure = error;
    }
    if (this.failure !== undefined && this.folder) await this.#store.remove(this.#key).catch(() => undefined);
  }

  /** Stops writing. When the promise resolves, no write is pending. */
  async stop(): Promise<void> {
    this.failure ??= 'given up';
    await this.#writing;
  }

  get report(): Pick<LoadReport, 'fetchedBytes' | 'cachedBytes' | 'cache' | 'cacheReason'> {
    const { failure, counts } = this;
    if (failure !== undefined) {
      const reason =
        typeof failure === 'string' ? failure : `writing to the cache failed: ${String(failure)}`;
      return { ...counts, cache: 'none', cacheReason: reason };
    }
    const cacheReason = counts.fetchedBytes > 0 ? 'kept for the next time' : 'read from the cache';
    return { ...counts, cache: this.#store.kind, cacheReason };
  }

  #writeManifest(): Promise<void> {
    const { id, folder, integrity } = this.#identity;
    const manifest: Manifest = {
      id,
      folder,
      integrity,
      format: CACHE_FORMAT,
      nonce: this.nonce,
      texts: this.#texts,
      files: this.#sources.map(({ name, fileBytes, validator }) => ({
        name,
        fileBytes: fileBytes!,
        validator,
      })),
    };
    return (this.#manifest ??= writeChecked(this.folder!, MANIFEST, MANIFEST, encode(manifest)));
  }
}
