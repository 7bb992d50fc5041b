/**
 * Where tunings are kept from one visit to the next: IndexedDB in a browser and its workers, a file in Node.
 */
import { storageGlobal } from '../../platform/storageGlobal.js';
import { nodeModule } from '../../platform/node.js';

/** What `DINOv2.tune` keeps its result in; values are plain data. */
export interface TuningStore {
  get(key: string): Promise<unknown>;
  set(key: string, value: unknown): Promise<void>;
}

const NAME = 'dinov2-webgpu-tuning';

/** What is used of Node's `process`. */
interface NodeProcess {
  readonly pid: number;
  readonly versions: { readonly node?: string };
  readonly env: Readonly<Record<string, string | undefined>>;
}

const nodeProcess = (globalThis as { process?: NodeProcess }).process;

/**
 * The store of this place: of the page's origin, or of the user (`$XDG_CACHE_HOME`, else `~/.cache`).
 * Undefined where there is none.
 */
export function defaultStore(): TuningStore | undefined {
  if (storageGlobal('indexedDB')) return new DatabaseStore();
  return nodeProcess?.versions?.node === undefined ? undefined : new FileStore(nodeProcess);
}

class DatabaseStore implements TuningStore {
  get(key: string): Promise<unknown> {
    return this.#with('readonly', (store) => store.get(key));
  }

  async set(key: string, value: unknown): Promise<void> {
    await this.#with('readwrite', (store) => store.put(value, key));
  }

  async #with(mode: IDBTransactionMode, task: (store: IDBObjectStore) => IDBRequest): Promise<unknown> {
    const opening = indexedDB.open(NAME, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('tunings');
    const database = (await done(opening)) as IDBDatabase;
    try {
      return await done(task(database.transaction('tunings', mode).objectStore('tunings')));
    } finally {
      database.close();
    }
  }
}

const done = (request: IDBRequest): Promise<unknown> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error as Error);
  });

/** A file of JSON: key → value. Written beside and moved into place, so that nobody reads a half of it. */
class FileStore implements TuningStore {
  readonly #process: NodeProcess;

  constructor(process: NodeProcess) {
    this.#process = process;
  }

  async get(key: string): Promise<unknown> {
    return (await this.#read())[key];
  }

  async set(key: string, value: unknown): Promise<void> {
    const { mkdir, rename, writeFile } = files();
    const { folder, path } = this.#place();
    const all = { ...(await this.#read()), [key]: value };
    await mkdir(folder, { recursive: true });
    const beside = `${path}.${this.#process.pid}`;
    await writeFile(beside, JSON.stringify(all, null, 1));
    await rename(beside, path);
  }

  #place(): { folder: string; path: string } {
    const { XDG_CACHE_HOME, HOME, USERPROFILE } = this.#process.env;
    const folder = `${XDG_CACHE_HOME ?? `${HOME ?? USERPROFILE ?? '.'}/.cache`}/dinov2-webgpu`;
    return { folder, path: `${folder}/tuning.json` };
  }

  /** What is there; nothing, if there is no file or it holds something else. */
  async #read(): Promise<Record<string, unknown>> {
    const { readFile } = files();
    try {
      const found = JSON.parse(await readFile(this.#place().path, 'utf8')) as unknown;
      return typeof found === 'object' && found !== null ? (found as Record<string, unknown>) : {};
    } catch {
      return {};
    }
  }
}

/** What is used of node:fs/promises. */
interface Files {
  mkdir(path: string, options: { recursive: boolean }): Promise<unknown>;
  readFile(path: string, encoding: 'utf8'): Promise<string>;
  rename(from: string, to: string): Promise<void>;
  writeFile(path: string, text: string): Promise<void>;
}

const files = (): Files => nodeModule('node:fs/promises') as Files;
