/** `CacheEntry`: reads and writes the cache entry of one load. */
import { SourceError } from '../errors.js';
import { isMissing } from '../io/sources.js';
import type { LoadReport } from '../options.js';
import type { CacheFolder, CacheStore } from '../storage/store.js';
import { CacheSource, type SourceEntry } from './cacheSource.js';
import {
  CACHE_FORMAT,
  encode,
  MANIFEST,
  namesOf,
  writeChecked,
  type Bytes,
  type CacheIdentity,
  type Manifest,
} from './format.js';

/** Removes all files of a cache folder except the named files. */
async function tidy(folder: CacheFolder, names: readonly string[] = []): Promise<void> {
  const known = new Set(names);
  for (const name of await folder.names()) if (!known.has(name)) await folder.remove(name);
}

/**
 * Removes cache entries in older formats. Entries in newer formats belong to a different version of the
 * library, and are left alone.
 */
async function removeOlder(store: CacheStore): Promise<void> {
  for (const key of await store.keys())
    if (Number(/^v(\d+)-/.exec(key)?.[1] ?? Infinity) < CACHE_FORMAT) await store.remove(key);
}

/**
 * Reads the files of one load: stored blocks come from the cache. All other blocks come from the network,
 * and are then stored.
 */
export class CacheEntry implements SourceEntry {
  readonly kept: Manifest | undefined;
  readonly nonce: string;
  readonly counts = { fetchedBytes: 0, cachedBytes: 0 };
  failure: unknown;
  /** The cache entry's folder. Undefined until `begin` is called, if the folder does not exist yet. */
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
   * Returns the bytes of a small file, from the cache, or from `read` if the cache does not have the file.
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

  names(): Promise<Set<string>> {
    const found = this.kept ? this.folder?.names().catch(() => []) : undefined;
    return (this.#names ??= Promise.resolve(found).then((names) => new Set(names)));
  }

  /** Makes the reader of a weights file. */
  source(name: string, url: string, sha256: string | undefined): CacheSource {
    return new CacheSource(this, name, url, sha256);
  }

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
   * Prepares the cache entry for writing, once all files are open. Never rejects.
   * @param not the reason why this load must not be cached; undefined if caching is allowed
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
      await tidy(this.folder); // first frees the space that an older version of this entry takes
      await removeOlder(this.#store);
      const bytes = this.#sources.reduce((sum, { fileBytes = 0 }) => sum + fileBytes, 0);
      const { quota = Infinity, usage = 0 } = (await storage.estimate?.()) ?? {};
      // The quota is an estimate, so a write may still fail later. But no entry is begun that cannot fit.
      if (quota - usage < bytes)
        this.failure = `the weights need ${bytes} bytes of storage, and the browser grants ${quota - usage}`;
      // If a file has no validator (ETag or Last-Modified), an interrupted download cannot be resumed, so
      // the manifest is written last.
      else if (this.#sources.every((source) => source.resumable)) await this.#writeManifest();
    } catch (error) {
      this.failure = error;
    }
    this.#begun = true;
  }

  async write(name: string, position: unknown, bytes: Bytes): Promise<void> {
    if (!this.#begun) this.failure ??= 'the header of its file is longer than a block of the cache';
    if (this.failure !== undefined) return;
    this.#writing = writeChecked(this.folder!, name, position, bytes).catch(
      (error: unknown) => void (this.failure ??= error),
    );
    await this.#writing;
  }

  /**
   * Completes the cache entry after all files were read, or removes the entry if a write has failed. Never
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
