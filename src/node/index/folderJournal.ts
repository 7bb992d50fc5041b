/** `FolderJournal`: the journal of an index in a folder on disk. */
import { watch, type BigIntStats, type FSWatcher } from 'node:fs';
import { mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { serialize } from 'node:v8';
import type { IndexError } from '../../errors.js';
import { checkSameIndex } from '../../search/checks.js';
import type { Change, Changes, IndexHeader, IndexUsage, Journal, StoredItem } from '../../search/journal.js';
import {
  closedError,
  damagedError,
  goneError,
  newerError,
  thumbnailError,
} from '../../search/store/errors.js';
import { isForbidden, withFileLock } from '../fileLock.js';
import { withHandles, withPaths } from '../handles.js';
import { folderError, readOnlyError } from './folderErrors.js';
import { encodeFrame, writeParts } from './frames.js';
import type { FirstHead } from './heads.js';
import { changesFrame, Log } from './log.js';
import { show } from '../../platform/json.js';

/** The log is rewritten after a commit if more than this many bytes, and more than half of it, are wasted. */
const WASTED_BYTES = 2 ** 24;
/** Bytes of items that one frame of a rewritten log holds, at least one item. */
const FRAME_BYTES = 2 ** 24;
const FILE = 'index.log';

/** Options of `openFolder`. */
export interface FolderOptions {
  readonly signal?: AbortSignal | undefined;
  readonly repair?: 'drop' | undefined;
}

/**
 * Opens the index in a folder, or creates an empty one. Waits while another process changes it. If this process may
 * not write into the folder, the index can only be read.
 *
 * @throws IndexError INDEX_MODEL, INDEX_HEADER, INDEX_NEWER, INDEX_DAMAGED, INDEX_QUOTA, INDEX_STORAGE; the
 *   signal's reason
 */
export async function openFolder(
  where: string | URL,
  header: IndexHeader,
  { signal, repair }: FolderOptions,
): Promise<FolderJournal> {
  const folder = where instanceof URL || /^file:/i.test(where) ? fileURLToPath(where) : where;
  const journal = new FolderJournal(folder, header);
  await journal.open(signal, repair);
  return journal;
}

export class FolderJournal implements Journal {
  header: IndexHeader;
  dropped: readonly string[] = [];
  readonly restored = false;
  created = false;
  readonly #folder: string;
  readonly #path: string;
  #file: FileHandle | undefined;
  #log: Log;
  readonly #watchers = new Set<(changes: readonly Change[]) => void>();
  #watcher: FSWatcher | undefined;
  /** The last task. Tasks run one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;
  /**
   * True if this process may not write into the folder. Then the log is read without the lock: it only grows, or is
   * replaced as a whole, so every read sees complete commits.
   */
  #readOnly = false;
  /** True while a task waits that reads the changes of other processes. */
  #listening = false;
  /** True until `items` has ended: until then the file must stay the one that it reads. */
  #reading = true;
  /** Changes of other processes that the watchers have not received. */
  #undelivered: Change[] = [];
  /** True while a compaction waits, and after one that failed: until one succeeds, commits do not try again. */
  #compacting = false;

  constructor(folder: string, header: IndexHeader) {
    this.#folder = folder;
    this.#path = join(folder, FILE);
    this.header = header;
    this.#log = new Log(header);
  }

  /** Opens the file, creates it if it is missing, and repairs it if the caller asks for that. */
  async open(signal: AbortSignal | undefined, repair: 'drop' | undefined): Promise<void> {
    await this.#guarded(() => mkdir(this.#folder, { recursive: true }));
    const load = async (): Promise<void> => {
      this.#log = new Log(this.header);
      this.#file ??= await openOrCreate(this.#path);
      await this.#log.read(this.#file, undefined, signal);
      const { first, damage, items, end } = this.#log;
      const damaged = damage.items.length > 0 || damage.notes.length > 0 || (!first && end > 0);
      if (first) this.#check(first);
      if (damaged && !repair) throw damagedError(this.#folder, damage.items, damage.notes, items.size);
      if (this.#readOnly && (damaged || !first)) throw readOnlyError(this.#folder);
      if (damaged) {
        this.dropped = [...new Set(damage.items)].filter((id) => !items.has(id));
        await this.#rewrite(true);
      } else if (!first) {
        await this.#begin();
        this.created = true;
      }
    };
    try {
      await this.#locked(load, signal).catch(async (error: Error) => {
        if (this.#file || !isForbidden(error.cause)) throw error;
        this.#file = await open(this.#path).catch(() => {
          throw error;
        });
        this.#readOnly = true;
        return this.#guarded(load);
      });
    } catch (error) {
      await this.#file?.close();
      throw error;
    }
  }

  async *items(signal?: AbortSignal): AsyncIterable<StoredItem> {
    try {
      for (const known of Array.from(this.#log.items.values())) {
        signal?.throwIfAborted();
        const item = await this.#guarded(() => this.#log.item(this.#opened(), known));
        if (item === 'damaged') throw this.#damagedItem(known.put.id);
        yield item;
      }
    } finally {
      this.#reading = false;
      this.#listen(); // for changes that were made meanwhile
    }
  }

  /** Commits changes under the lock of the folder, all of them or none. */
  commit(changes: Changes): Promise<void> {
    return this.#change(async () => {
      const list = typeof changes === 'function' ? await changes() : changes;
      if (list.length === 0) return;
      const { parts, entries } = await changesFrame(list);
      const at = await this.#append(parts);
      for (const entry of entries) {
        if ('remove' in entry) this.#log.remove(entry.remove);
        else this.#log.put(entry.put, at + entry.at, entry.crc);
      }
      this.#compactLater();
    });
  }

  async thumbnail(id: string): Promise<Blob | undefined> {
    const read = (): Promise<Blob | 'damaged' | undefined> => this.#log.thumbnail(this.#opened(), id);
    const found = await this.#enqueue(() => this.#guarded(read));
    if (found !== 'damaged') return found;
    throw thumbnailError(this.#folder, id, 'damaged');
  }

  watch(onChanges: (changes: readonly Change[]) => void): () => void {
    this.#watchers.add(onChanges);
    try {
      this.#watcher ??= watch(this.#folder, { persistent: false }, (_, name) => {
        if (name === FILE) this.#listen();
      });
      this.#watcher.on('error', () => undefined); // changes of other processes then arrive with the next commit
    } catch {
      // The system cannot watch this folder: as above.
    }
    return () => void this.#watchers.delete(onChanges);
  }

  async getState(key: string): Promise<unknown> {
    await this.#enqueue(() => this.#locked(() => this.#catchUp()));
    return withHandles(this.#log.states.get(key));
  }

  setState(key: string, value: unknown): Promise<void> {
    const bytes = value === undefined ? new Uint8Array(0) : serialize(structuredClone(withPaths(value)));
    return this.#change(async () => {
      await this.#append(encodeFrame({ state: key }, [bytes]));
      this.#log.setState(key, structuredClone(withPaths(value)), bytes.length);
    });
  }

  compact(): Promise<void> {
    return this.#change(() => this.#rewrite());
  }

  async usage(): Promise<IndexUsage> {
    this.#opened();
    const { items, end, liveBytes } = this.#log;
    return { items: items.size, bytes: end, wastedBytes: end - liveBytes };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#watcher?.close();
    this.#watchers.clear();
    await this.#queue.catch(() => undefined); // the caller of the task receives its error
    await this.#file?.close();
  }

  #opened(): FileHandle {
    if (this.#closed || !this.#file) throw closedError(this.#folder);
    return this.#file;
  }

  /** Runs a task that writes, after the commits of other processes were read. */
  #change(task: () => Promise<void>): Promise<void> {
    return this.#enqueue(() =>
      this.#locked(async () => {
        if (this.#readOnly) throw readOnlyError(this.#folder);
        await this.#catchUp();
        await task();
      }),
    );
  }

  #check(first: FirstHead): void {
    if (first.format > 1) throw newerError(this.#folder, `format ${show(first.format)}`);
    checkSameIndex(
      first.header,
      this.header,
      `index ${JSON.stringify(this.#folder)}`,
      'Open it with the options that it was made with, or choose another folder.',
    );
    this.header = first.header;
  }

  /** Writes the first frame of a new index. */
  async #begin(): Promise<void> {
    const first: FirstHead = { format: 1, header: this.header, identity: crypto.randomUUID() };
    await this.#append(encodeFrame(first));
    this.#log.first = first;
  }

  /** Writes a frame at the end of the log. Returns its position. If that fails, nothing was changed. */
  async #append(parts: readonly Uint8Array[]): Promise<number> {
    const file = this.#opened();
    const at = this.#log.end;
    try {
      await file.truncate(at); // removes the frame of a process that was stopped while it wrote
      const end = await writeParts(file, parts, at);
      await file.datasync();
      this.#log.end = end;
      return at;
    } catch (error) {
      await file.truncate(at).catch(() => undefined); // an unfinished frame counts as the end of the file
      throw error;
    }
  }

  /** Rewrites the log after a commit, if much of it is wasted. */
  #compactLater(): void {
    const wasted = this.#log.end - this.#log.liveBytes;
    if (this.#compacting || wasted <= WASTED_BYTES || wasted <= this.#log.end / 2) return;
    this.#compacting = true;
    // The commit is complete, so an error of this task must not reject it.
    this.#enqueue(async () => {
      if (!this.#closed) await this.#locked(() => this.#catchUp().then(() => this.#rewrite()));
    }).catch(() => undefined);
  }

  #damagedItem(id: string): IndexError {
    return damagedError(this.#folder, [id], [], this.#log.items.size - 1);
  }

  /**
   * Writes all items to a new file, which then replaces the log.
   * @param drop true to leave out damaged thumbnails
   * @throws IndexError INDEX_DAMAGED if an item is damaged, or a thumbnail; the log stays as it is
   */
  async #rewrite(drop = false): Promise<void> {
    const from = this.#opened();
    const part = `${this.#path}.part`;
    const made = new Log();
    const to = await open(part, 'w+');
    try {
      const header = this.header;
      made.first = { format: 1, header, identity: crypto.randomUUID() };
      let end = await writeParts(to, encodeFrame(made.first), 0);
      const write = async (changes: readonly Change[]): Promise<void> => {
        const { parts, entries } = await changesFrame(changes);
        for (const entry of entries) if ('put' in entry) made.put(entry.put, end + entry.at, entry.crc);
        end = await writeParts(to, parts, end);
      };
      let batch: Change[] = [];
      let bytes = 0;
      for (const [id, known] of this.#log.items) {
        const thumbnail = await this.#log.thumbnail(from, id);
        const item = await this.#log.item(from, known);
        if (item === 'damaged') throw this.#damagedItem(id);
        if (thumbnail === 'damaged' && !drop) throw thumbnailError(this.#folder, id, 'damaged');
        batch.push({ put: { ...item, ...(thumbnail instanceof Blob && { thumbnail }) } });
        bytes += item.vector.length + (item.patches?.data.length ?? 0);
        bytes += thumbnail instanceof Blob ? thumbnail.size : 0;
        if (bytes < FRAME_BYTES) continue;
        await write(batch);
        [batch, bytes] = [[], 0];
      }
      if (batch.length > 0) await write(batch);
      for (const [state, value] of this.#log.states) {
        const bytes = serialize(value);
        end = await writeParts(to, encodeFrame({ state }, [bytes]), end);
        made.setState(state, value, bytes.length);
      }
      made.end = end;
      await to.sync();
      if (process.platform === 'win32') await from.close(); // an open file cannot be replaced there
      await rename(part, this.#path);
    } catch (error) {
      await to.close();
      await rm(part, { force: true });
      throw error;
    }
    await from.close().catch(() => undefined);
    this.#file = to;
    this.#log = made;
    this.#compacting = false;
  }

  /** Reads the commits of other processes, and passes their changes on. The lock must be held, unless the index is only read. */
  async #catchUp(): Promise<void> {
    const file = await open(this.#path, this.#readOnly ? 'r' : 'r+');
    const now = new Log(this.header);
    let used = false;
    try {
      const found = await file.stat(BIG);
      if (found.size === 0n) throw goneError(this.#folder);
      if (isSame(found, await this.#opened().stat(BIG))) {
        const note = (change: Change): void => void this.#undelivered.push(change);
        if (found.size >= BigInt(this.#log.end)) await this.#log.read(this.#opened(), note);
        else throw damagedError(this.#folder, [], ['another program cut the file'], this.#log.items.size);
      } else {
        // Another process has rewritten the log.
        const changes: Change[] = [];
        await now.read(file, (change) => void changes.push(change));
        if (now.first) this.#check(now.first);
        for (const id of this.#log.items.keys()) if (!now.items.has(id)) changes.push({ remove: id });
        await this.#opened().close();
        [this.#file, this.#log, used] = [file, now, true];
        this.#undelivered.push(...changes);
      }
    } finally {
      if (!used) await file.close();
      // Also after an error: the log has been read up to the error, and is read on from there next time.
      const changes = this.#undelivered;
      this.#undelivered = [];
      if (changes.length > 0) for (const watcher of this.#watchers) watcher(changes);
    }
    const { items, notes } = this.#log.damage;
    if (items.length > 0 || notes.length > 0)
      throw damagedError(this.#folder, items, notes, this.#log.items.size);
  }

  #listen(): void {
    if (this.#closed || this.#listening || this.#reading) return;
    this.#listening = true;
    this.#enqueue(async () => {
      this.#listening = false;
      if (this.#closed || !(await this.#hasChanged())) return;
      await this.#locked(() => this.#catchUp());
    }).catch(() => undefined); // the next commit meets the same error
  }

  /** True if the file is not the one that this opening has read or written to its end. */
  async #hasChanged(): Promise<boolean> {
    const [own, found] = await Promise.all([this.#opened().stat(BIG), stat(this.#path, BIG)]);
    return !isSame(own, found) || found.size !== BigInt(this.#log.end);
  }

  async #enqueue<T>(task: () => Promise<T>): Promise<T> {
    this.#opened();
    const run = this.#queue.catch(() => undefined).then(task);
    this.#queue = run;
    return run;
  }

  #locked<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#guarded(() =>
      this.#readOnly ? task() : withFileLock(join(this.#folder, 'lock'), signal, task),
    );
  }

  /** Runs a task, and turns errors of the file system into errors of the index. */
  async #guarded<T>(task: () => Promise<T>): Promise<T> {
    try {
      return await task();
    } catch (cause) {
      const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
      throw missing && this.#file ? goneError(this.#folder) : folderError(this.#folder, cause);
    }
  }
}

/** Opens the log for reading and writing; creates an empty file if it is missing. */
async function openOrCreate(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r+');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return open(path, 'w+');
  }
}

const BIG = { bigint: true } as const;

const isSame = (one: BigIntStats, other: BigIntStats): boolean =>
  one.ino === other.ino && one.dev === other.dev;
