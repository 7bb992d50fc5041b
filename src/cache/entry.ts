/**
 * A cache entry: the files of one source, unchanged.
 *
 *     manifest                                      files of the source: JSON
 *     model.safetensors-0, model.safetensors-1 …    a weights file in blocks of 4 MiB
 *
 * Each file begins with a checksum: the SHA-256 of its position and its bytes. So every block proves that it
 * is this block of this version of this file. A block that is damaged, missing or left over from another
 * entry is fetched again; no marker says that an entry is complete.
 */
import { SourceError } from '../errors.js';
import { concat, isMissing } from '../io/sources.js';
import { hexOf } from '../numerics/hex.js';
import type { LoadReport } from '../options.js';
import type { CacheFolder, CacheStore } from '../storage/store.js';
import { CacheSource } from './cacheSource.js';

/** Entries of other formats are not read. Formats 1 to 4 held packed weights. */
const CACHE_FORMAT = 5;
export const BLOCK_BYTES: number = 2 ** 22;

type Bytes = Uint8Array<ArrayBuffer>;

/** A weights file of an entry. */
export interface CachedFile {
  readonly name: string;
  readonly fileBytes: number;
  /** Identifies the version on the server (`validatorOf`); undefined if the server sends no validator. */
  readonly validator: string | undefined;
}

/** Identifies an entry: the model's id and folder, and the hashes that the caller demands. */
export interface CacheIdentity {
  /** The argument of `fromPretrained`: an id of the hub, or the URL of a folder. */
  readonly id: string;
  /** The URL of the folder. */
  readonly folder: string;
  /**
   * SHA-256 in hexadecimal digits by file name. A file whose blocks are all stored was checked against its
   * hash.
   */
  readonly integrity: Readonly<Record<string, string>>;
}

/** Content of an entry's manifest. */
export interface Manifest extends CacheIdentity {
  readonly format: number;
  /** Random. Distinguishes the blocks of this manifest from those of an earlier one. */
  readonly nonce: string;
  /** Contents of the small files by name, such as config.json; null: the source has no such file. */
  readonly texts: Readonly<Record<string, string | null>>;
  readonly files: readonly CachedFile[];
}

/** The size of all weights files. */
export const weightsBytes = ({ files }: Pick<Manifest, 'files'>): number =>
  files.reduce((sum, { fileBytes }) => sum + fileBytes, 0);

export const blockName = (file: string, block: number): string => `${file}-${block}`;

const MANIFEST = 'manifest';
const CHECKSUM_BYTES = 32;

const digest = async (bytes: Bytes): Promise<Bytes> =>
  new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
const encode = (value: unknown): Bytes => new TextEncoder().encode(JSON.stringify(value));

/** @param position position of the bytes: entry, file, version, block */
const checksumOf = async (position: unknown, bytes: Bytes): Promise<Bytes> => {
  const [hash, text] = [await digest(bytes), encode(position)];
  return digest(concat([hash, text], hash.length + text.length));
};

/**
 * The bytes of a stored file; undefined if the file is missing, unreadable, damaged or belongs to another
 * position.
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
  const body = new Blob([bytes]); // a copy, because the buffer is reused
  await folder.write(name, new Blob([await checksumOf(position, bytes), body]));
}

/** The name of an entry's folder. */
export async function cacheKey(folder: string): Promise<string> {
  const hash = await digest(encode(folder));
  return `v${CACHE_FORMAT}-${hexOf(hash.subarray(0, 16))}`;
}

/** The manifest in a folder; undefined if it is missing or damaged. Writes nothing. */
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

/** Removes all files except these. */
async function tidy(folder: CacheFolder, names: readonly string[] = []): Promise<void> {
  const known = new Set(names);
  for (const name of await folder.names()) if (!known.has(name)) await folder.remove(name);
}

/** Removes entries of older formats. Entries of newer formats belong to another version of the library. */
async function removeOlder(store: CacheStore): Promise<void> {
  for (const key of await store.keys())
    if (Number(/^v(\d+)-/.exec(key)?.[1] ?? Infinity) < CACHE_FORMAT) await store.remove(key);
}

/**
 * Reads the files of one load: stored blocks from the cache, all others from the network, which are then
 * stored.
 */
export class CacheEntry {
  /** The manifest of an earlier load that this load resumes or repeats. */
  readonly kept: Manifest | undefined;
  readonly nonce: string;
  readonly counts = { fetchedBytes: 0, cachedBytes: 0 };
  /** Why nothing more is written: a text, or the error that was thrown. Undefined while writing works. */
  failure: unknown;
  /** The entry's folder; undefined before `begin` if it does not exist yet. */
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
   * The bytes of a small file, from the cache or else from `read`.
   * @throws SourceError with status 404 if the cache says that the source has no such file
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

  /** Names of the entry's files. A listed file may be empty or damaged. */
  names(): Promise<Set<string>> {
    const found = this.kept ? this.folder?.names().catch(() => []) : undefined;
    return (this.#names ??= Promise.resolve(found).then((names) => new Set(names)));
  }

  /** A weights file. */
  source(name: string, url: string, sha256: string | undefined): CacheSource {
    return new CacheSource(this, name, url, sha256);
  }

  /** Adds a weights file that was opened to the entry. */
  opened(source: CacheSource): void {
    this.#sources.push(source);
  }

  absent(name: string): SourceError {
    return new SourceError(
      'SOURCE_FETCH',
      `${this.#identity.folder}${name}: the server had no such file when the model was cached. Call removeCached for this model to ask again.`,
      { status: 404 },
    );
  }

  /**
   * Prepares writing, once all files are open. Never rejects.
   * @param not why nothing may be cached; undefined: no reason
   */
  async begin(not: string | undefined, persist: boolean): Promise<void> {
    this.failure ??= not;
    if (this.failure !== undefined) return;
    const { kept } = this;
    if (kept) {
      await tidy(this.folder!, namesOf(kept)).catch(() => undefined); // surplus files do no harm
      return;
    }
    try {
      const storage: Partial<StorageManager> = globalThis.navigator?.storage ?? {}; // workers lack `persist`
      if (persist) void storage.persist?.().catch(() => undefined); // some browsers ask the user; no load waits for the answer
      this.folder ??= await this.#store.folder(this.#key);
      await tidy(this.folder); // frees the space of another version first
      await removeOlder(this.#store);
      const bytes = this.#sources.reduce((sum, { fileBytes = 0 }) => sum + fileBytes, 0);
      const { quota = Infinity, usage = 0 } = (await storage.estimate?.()) ?? {};
      // The quota is an estimate, and a write may still fail; but an entry that cannot fit is not begun.
      if (quota - usage < bytes) this.failure = `expected room for ${bytes} bytes, found ${quota - usage}`;
      // A file without a version cannot be resumed; its manifest is written last.
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

  /** Completes the entry after everything was read, or removes it if a write has failed. Never rejects. */
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
