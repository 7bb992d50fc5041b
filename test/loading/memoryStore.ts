/**
 * An in-memory cache store, and a function that reads checkpoints through the cache without building a model.
 */
import { CacheEntry } from '../../src/cache/entry.ts';
import { cacheKey, readManifest } from '../../src/cache/format.ts';
import { pretrained } from '../../src/load/pretrained.ts';
import type { CacheFolder, CacheStore } from '../../src/storage/store.ts';
import { sha256 } from './server.ts';

type Files = Map<string, Uint8Array<ArrayBuffer>>;

export interface MemoryStore extends CacheStore {
  /** Files by entry key, then by file name. */
  readonly folders: Map<string, Files>;
  /** Methods that replace those of every folder, to simulate failures. */
  broken: Partial<CacheFolder>;
}

export function memoryStore(): MemoryStore {
  const folders = new Map<string, Files>();
  const folderOf = (files: Files): CacheFolder => ({
    names: async () => [...files.keys()],
    read: async (name) => (files.has(name) ? new Blob([files.get(name)!]) : undefined),
    write: async (name, data) => void files.set(name, new Uint8Array(await data.arrayBuffer())),
    remove: async (name) => void files.delete(name),
    ...store.broken,
  });
  const store: MemoryStore = {
    kind: 'opfs',
    folders,
    broken: {},
    keys: async () => [...folders.keys()],
    folder: async (key) => {
      if (!folders.has(key)) folders.set(key, new Map());
      return folderOf(folders.get(key)!);
    },
    existing: async (key) => (folders.has(key) ? folderOf(folders.get(key)!) : undefined),
    remove: async (key) => void folders.delete(key),
  };
  return store;
}

export interface ReadThrough {
  /** SHA-256 of every tensor that was read, by tensor name. */
  readonly tensors: Map<string, string>;
  readonly entry: CacheEntry;
  readonly error: unknown;
}

/**
 * Reads a server's folder through the cache, as a load does.
 * @param until stop, as an abort does, at the first piece after this many bytes
 */
export async function readThrough(
  store: CacheStore,
  url: string,
  options: Parameters<typeof pretrained>[1] = {},
  until = Infinity,
): Promise<ReadThrough> {
  const key = await cacheKey(url);
  const { integrity: own } = options;
  const integrity =
    typeof own === 'string' ? { 'model.safetensors': own } : ((own ?? {}) as Record<string, string>);
  const folder = await store.existing(key);
  const kept = await readManifest(folder);
  const entry = new CacheEntry(store, key, folder, { id: url, folder: url, integrity }, kept);
  const parts = new Map<string, Uint8Array[]>();
  let error: unknown;
  try {
    const { stream } = await (
      await pretrained(url, { retry: { attempts: 2, delayMs: 5 }, ...options })
    ).open({
      signal: options.signal,
      onProgress: () => undefined,
      reload: false,
      whole: false,
      entry,
    });
    await entry.begin(undefined, false);
    let bytes = 0;
    for await (const piece of stream.pieces) {
      bytes += piece.bytes.length;
      if (bytes > until) {
        await stream.cancel();
        throw new Error('far enough');
      }
      parts.set(piece.name, [...(parts.get(piece.name) ?? []), piece.bytes.slice()]);
    }
    await entry.finish();
  } catch (thrown) {
    error = thrown;
    await entry.stop();
  }
  const tensors = new Map([...parts].map(([name, list]) => [name, sha256(Buffer.concat(list))]));
  return { tensors, entry, error };
}
