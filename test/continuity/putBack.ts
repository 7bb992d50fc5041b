/** Writes an index of test/fixtures/continuity into a browser's storage without using the library. */
import { bytesOf, type Contents } from './contents.ts';

/** An index.*.json fixture: all stored data of one index. */
export interface KeptIndexFile {
  readonly name: string;
  readonly contents: Contents;
  readonly database: {
    readonly name: string;
    readonly version: number;
    readonly stores: readonly {
      readonly name: string;
      readonly keyPath: string | null;
      readonly rows: readonly (readonly [key: string | number, value: unknown])[];
    }[];
  };
  /** Segment files as base64, and their folder in OPFS or the Cache API. */
  readonly files: {
    readonly store: 'opfs' | 'cache-api';
    readonly folder: string;
    readonly files: readonly (readonly [name: string, base64: string])[];
  };
}

const ROOT = 'dinov2-webgpu-search';

export async function putFiles({ store, folder, files }: KeptIndexFile['files']): Promise<void> {
  const write = store === 'opfs' ? await fileWriter(folder) : await responseWriter(folder);
  for (const [name, base64] of files) await write(name, bytesOf(base64));
}

type Write = (name: string, bytes: Uint8Array<ArrayBuffer>) => Promise<void>;

async function fileWriter(folder: string): Promise<Write> {
  const origin = await navigator.storage.getDirectory();
  const root = await origin.getDirectoryHandle(ROOT, { create: true });
  const directory = await root.getDirectoryHandle(folder, { create: true });
  return async (name, bytes) => {
    const writable = await (await directory.getFileHandle(name, { create: true })).createWritable();
    await writable.write(bytes);
    await writable.close();
  };
}

async function responseWriter(folder: string): Promise<Write> {
  const cache = await caches.open(ROOT);
  return (name, bytes) => cache.put(`https://dinov2-webgpu.invalid/${folder}/${name}`, new Response(bytes));
}

/** Converts a value from the fixture's JSON back to the value stored in IndexedDB. */
function restored(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(restored);
  if (typeof value !== 'object' || value === null) return value;
  const { $: tag, base64 } = value as { $?: string; base64?: string };
  if (tag === 'undefined') return undefined;
  if (tag === 'ArrayBuffer') return bytesOf(base64!).buffer;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, restored(each)]));
}

export function putDatabase({ name, version, stores }: KeptIndexFile['database']): Promise<void> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(name, version);
    opening.onupgradeneeded = () => {
      for (const { name: storeName, keyPath, rows } of stores) {
        const store = opening.result.createObjectStore(storeName, keyPath === null ? {} : { keyPath });
        for (const [key, value] of rows) store.put(restored(value), keyPath === null ? key : undefined);
      }
    };
    opening.onsuccess = () => {
      opening.result.close();
      resolve();
    };
    opening.onerror = () => reject(opening.error as Error);
  });
}
