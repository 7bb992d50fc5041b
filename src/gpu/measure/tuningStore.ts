/** Stores the results of tuning for later visits: in IndexedDB in browsers and workers, in a file in Node. */
import { storageGlobal } from '../../platform/storageGlobal.js';
import { nodeModule } from '../../platform/node.js';

/** A store for the results of `DINOv2.tune`. */
export interface TuningStore {
  /** Returns the value that was stored under `key`, or undefined. */
  get(key: string): Promise<unknown>;
  /** Stores a value under `key`. The value is plain data that JSON can represent. */
  set(key: string, value: unknown): Promise<void>;
}

const NAME = 'dinov2-webgpu-tuning';

/** The properties of Node's `process` that this file uses. */
interface NodeProcess {
  readonly pid: number;
  readonly versions: { readonly node?: string };
  readonly env: Readonly<Record<string, string | undefined>>;
}

const nodeProcess = (globalThis as { process?: NodeProcess }).process;

/**
 * The default store: an IndexedDB database of the page's origin, or in Node a file in the user's cache folder
 * (`$XDG_CACHE_HOME`, else `~/.cache`). Undefined if neither is available.
 */
export function defaultStore(): TuningStore | undefined {
  if (storageGlobal('indexedDB')) return new DatabaseStore();
  return nodeProcess?.versions?.node === undefined ? undefined : new FileStore(nodeProcess);
}

/** A tuning store in an IndexedDB database. */
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

/**
 * A tuning store in a JSON file: one object with keys and values. The object is written to a temporary file,
 * which is then renamed, so that no reader sees a half-written file.
 */
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
    const { folder, path } = this.#location();
    const all = { ...(await this.#read()), [key]: value };
    await mkdir(folder, { recursive: true });
    const temporary = `${path}.${this.#process.pid}`;
    await writeFile(temporary, JSON.stringify(all, null, 1));
    await rename(temporary, path);
  }

  #location(): { folder: string; path: string } {
    const { XDG_CACHE_HOME, HOME, USERPROFILE } = this.#process.env;
    const folder = `${XDG_CACHE_HOME ?? `${HOME ?? USERPROFILE ?? '.'}/.cache`}/dinov2-webgpu`;
    return { folder, path: `${folder}/tuning.json` };
  }

  /**
   * Reads the object in the file. The result is an empty object if the file is missing or does not hold an
   * object.
   */
  async #read(): Promise<Record<string, unknown>> {
    const { readFile } = files();
    try {
      const content = JSON.parse(await readFile(this.#location().path, 'utf8')) as unknown;
      return typeof content === 'object' && content !== null ? (content as Record<string, unknown>) : {};
    } catch {
      return {};
    }
  }
}

/** The functions of node:fs/promises that this file uses. */
interface Files {
  mkdir(path: string, options: { recursive: boolean }): Promise<unknown>;
  readFile(path: string, encoding: 'utf8'): Promise<string>;
  rename(from: string, to: string): Promise<void>;
  writeFile(path: string, text: string): Promise<void>;
}

const files = (): Files => nodeModule('node:fs/promises') as Files;
