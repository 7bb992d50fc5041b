/**
 * An entry of the cache: the files of one source, as they are.
 *
 *     manifest                                      what the source has: JSON
 *     model.safetensors-0, model.safetensors-1 …    a weights file in blocks of 4 MiB
 *
 * Each file begins with its seal: the SHA-256 of where its bytes belong and of the bytes. So every block proves
 * for itself that it is this block of this version of this file. A block that is damaged, missing or left over
 * from something else is a hole, which is fetched again; nothing marks the end.
 */
import { SourceError } from '../errors.js';
import { concat, isMissing } from '../io/sources.js';
import { hexOf } from '../numerics/hex.js';
import type { LoadReport } from '../options.js';
import type { CacheFolder, CacheStore } from '../storage/store.js';
import { CacheSource } from './cacheSource.js';

/** Entries of another format are not read. 1 to 4 held packed weights. */
const CACHE_FORMAT = 5;
export const BLOCK_BYTES: number = 2 ** 22;

type Bytes = Uint8Array<ArrayBuffer>;

/** A weights file. */
export interface CachedFile {
  readonly name: string;
  readonly fileBytes: number;
  /** Of the version on the server (`validatorOf`), where there is one. */
  readonly validator: string | undefined;
}

/** Identifies an entry: the model's id and folder, and the hashes that the caller demands. */
export interface CacheIdentity {
  /** As `fromPretrained` was told: an id of the hub, or the URL of a folder. */
  readonly id: string;
  /** The URL of the folder. */
  readonly folder: string;
  /** SHA-256 in hexadecimal digits by file name. All of them were checked where all blocks are there. */
  readonly integrity: Readonly<Record<string, string>>;
}

export interface Manifest extends CacheIdentity {
  readonly format: number;
  /** Random. Blocks that were written under another manifest do not belong to this one. */
  readonly nonce: string;
  /** Of config.json and the like; null: the source has no such file. */
  readonly texts: Readonly<Record<string, string | null>>;
  readonly files: readonly CachedFile[];
}

/** The size of all weights files. */
export const weightsBytes = ({ files }: Pick<Manifest, 'files'>): number =>
  files.reduce((sum, { fileBytes }) => sum + fileBytes, 0);

export const blockName = (file: string, block: number): string => `${file}-${block}`;

const MANIFEST = 'manifest';
const SEAL_BYTES = 32;

const digest = async (bytes: Bytes): Promise<Bytes> =>
  new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
const encode = (value: unknown): Bytes => new TextEncoder().encode(JSON.stringify(value));

/** @param place where the bytes belong */
const sealOf = async (place: unknown, bytes: Bytes): Promise<Bytes> => {
  const [hash, text] = [await digest(bytes), encode(place)];
  return digest(concat([hash, text], hash.length + text.length));
};

/** The bytes of a file that belongs to `place`; undefined for one that does not, or cannot be read. */
export async function readSealed(
  folder: CacheFolder | undefined,
  name: string,
  place: unknown,
): Promise<Bytes | undefined> {
  try {
    const blob = await folder?.read(name);
    if (!blob) return undefined;
    const all = new Uint8Array(await blob.arrayBuffer());
    const bytes = all.subarray(SEAL_BYTES);
    const seal = await sealOf(place, bytes);
    return seal.every((byte, i) => byte === all[i]) ? bytes : undefined;
  } catch {
    return undefined;
  }
}

async function writeSealed(folder: CacheFolder, name: string, place: unknown, bytes: Bytes): Promise<void> {
  const body = new Blob([bytes]); // a copy: the buffer may be filled again
  await folder.write(name, new Blob([await sealOf(place, bytes), body]));
}

/** The name of an entry's folder. */
export async function cacheKey(folder: string): Promise<string> {
  const hash = await digest(encode(folder));
  return `v${CACHE_FORMAT}-${hexOf(hash.subarray(0, 16))}`;
}

/** Undefined where there is none that is whole. Writes nothing. */
export async function readManifest(folder: CacheFolder | undefined): Promise<Manifest | undefined> {
  const bytes = await readSealed(folder, MANIFEST, MANIFEST);
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

/** Removes all files but these. */
async function tidy(folder: CacheFolder, names: readonly string[] = []): Promise<void> {
  const known = new Set(names);
  for (const name of await folder.names()) if (!known.has(name)) await folder.remove(name);
}

/** Entries of formats that no load reads any more. Those of newer ones are another version's. */
async function removeOlder(store: CacheStore): Promise<void> {
  for (const key of await store.keys())
    if (Number(/^v(\d+)-/.exec(key)?.[1] ?? Infinity) < CACHE_FORMAT) await store.remove(key);
}

/** What one load reads through: blocks that are kept, the network for all others, which are kept then. */
export class CacheEntry {
  /** Of an earlier load, which this one goes on with. */
  readonly kept: Manifest | undefined;
  readonly nonce: string;
  readonly counts = { fetchedBytes: 0, cachedBytes: 0 };
  /** Why nothing is written any more, once there is a reason: a sentence, or what was thrown. */
  failure: unknown;
  /** Undefined before `begin`, unless there is one already. */
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
   * The bytes of a small file: from the cache if they are there, else from `read`.
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

  /** Of the files that seem to be there: of one that was never written to, too. */
  names(): Promise<Set<string>> {
    const found = this.kept ? this.folder?.names().catch(() => []) : undefined;
    return (this.#names ??= Promise.resolve(found).then((names) => new Set(names)));
  }

  /** A weights file. */
  source(name: string, url: string, sha256: string | undefined): CacheSource {
    return new CacheSource(this, name, url, sha256);
  }

  /** A weights file is open, and belongs to what is kept. */
  opened(source: CacheSource): void {
    this.#sources.push(source);
  }

  absent(name: string): SourceError {
    return new SourceError(
      'SOURCE_FETCH',
      `${this.#identity.folder}${name}: expected a file, found none when it was downloaded. Remove it from the cache to ask again.`,
      { status: 404 },
    );
  }

  /**
   * Makes ready to write, once all files are open. Never rejects.
   * @param not in a sentence, why nothing is to be kept
   */
  async begin(not: string | undefined, persist: boolean): Promise<void> {
    this.failure ??= not;
    if (this.failure !== undefined) return;
    const { kept } = this;
    if (kept) {
      await tidy(this.folder!, namesOf(kept)).catch(() => undefined); // what is too much is no part of it
      return;
    }
    try {
      const storage: Partial<StorageManager> = globalThis.navigator?.storage ?? {}; // workers have no `persist`
      if (persist) void storage.persist?.().catch(() => undefined); // some ask the visitor, whose answer no load waits for
      this.folder ??= await this.#store.folder(this.#key);
      await tidy(this.folder); // of another version: it takes no room from this one
      await removeOlder(this.#store);
      const bytes = this.#sources.reduce((sum, { fileBytes = 0 }) => sum + fileBytes, 0);
      const { quota = Infinity, usage = 0 } = (await storage.estimate?.()) ?? {};
      // What browsers tell is a guess, and the write is what counts; but what cannot fit is not begun.
      if (quota - usage < bytes) this.failure = `expected room for ${bytes} bytes, found ${quota - usage}`;
      // Nobody can go on with what cannot be told from other versions: then the manifest comes last.
      else if (this.#sources.every((source) => source.resumable)) await this.#writeManifest();
    } catch (error) {
      this.failure = error;
    }
    this.#begun = true;
  }

  /** Writes a block. Never rejects. */
  async write(name: string, place: unknown, bytes: Bytes): Promise<void> {
    if (!this.#begun) this.failure ??= 'the header of its file is longer than a block of the cache';
    if (this.failure !== undefined) return;
    this.#writing = writeSealed(this.folder!, name, place, bytes).catch(
      (error: unknown) => void (this.failure ??= error),
    );
    await this.#writing;
  }

  /** All has been read. Where something has failed, nothing of the entry stays. Never rejects. */
  async finish(): Promise<void> {
    try {
      if (!this.kept && this.failure === undefined) await this.#writeManifest();
    } catch (error) {
      this.failure = error;
    }
    if (this.failure !== undefined && this.folder) await this.#store.remove(this.#key).catch(() => undefined);
  }

  /** Nothing is written when this has resolved. */
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
    return (this.#manifest ??= writeSealed(this.folder!, MANIFEST, MANIFEST, encode(manifest)));
  }
}
