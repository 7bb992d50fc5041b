/**
 * `Database`: the IndexedDB database of an index, accessed through the package `idb`. It reconnects if the
 * browser closes the connection, and closes the connection if a different page needs to upgrade or delete the
 * database.
 */
import {
  deleteDB,
  openDB,
  unwrap,
  wrap,
  type IDBPDatabase,
  type IDBPTransaction,
  type StoreNames,
} from 'idb';
import { IndexError } from '../../errors.js';
import { storageGlobal } from '../../platform/storageGlobal.js';
import {
  closedError,
  goneError,
  isLost,
  isQuota,
  newerError,
  NO_DATABASE,
  quotaError,
  quote,
  storageError,
  typedError,
} from './errors.js';
import {
  FORMAT,
  ONLY,
  type HeaderRow,
  type ItemRow,
  type Schema,
  type SegmentRow,
  type StateRow,
} from './rows.js';
import { wait } from '../../platform/pause.js';

export type Connection = IDBPDatabase<Schema>;
type Stores = StoreNames<Schema>[];
/** A read-write transaction. */
export type Writing = IDBPTransaction<Schema, Stores, 'readwrite'>;

const PREFIX = 'dinov2-webgpu-search/';
/** Maximum number of attempts to reopen a lost connection. */
const REOPENINGS = 3;
const REOPENING_MS = 100;
/**
 * Time in ms after which a database that a different page keeps open counts as blocked. Pages that use this
 * library close their connection as soon as a different page needs the database.
 */
const BLOCKED_MS = 5_000;
/** Time in ms after which opening the database counts as failed if the browser has not answered. */
const OPENING_MS = 30_000;
const STEP_MS = 1000;

/**
 * Returns the names of all indexes that have a database, including indexes made by newer versions of the
 * library. Returns undefined if the browser cannot list databases.
 */
export async function databaseNames(): Promise<string[] | undefined> {
  const found = await (indexedDB as Partial<IDBFactory>).databases?.();
  return found?.flatMap(({ name }) => (name?.startsWith(PREFIX) ? name.slice(PREFIX.length) : []));
}

/**
 * Calls `late` after `ms` milliseconds in which the page ran, in steps of a second: a frozen page counts one step.
 * Returns a function that cancels the call.
 */
function after(ms: number, late: () => void): () => void {
  let leftMs = ms;
  const timer = setInterval(() => {
    leftMs -= STEP_MS;
    if (leftMs > 0) return;
    clearInterval(timer);
    late();
  }, STEP_MS);
  return () => clearInterval(timer);
}

/**
 * Waits for `work`, but rejects with `error()` if it takes longer than `ms`. `work` cannot be cancelled. If
 * it succeeds after the rejection, `late` is called with its result, and must undo the work.
 */
function within<T>(
  ms: number,
  work: Promise<T>,
  error: () => IndexError,
  late: (value: T) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = after(ms, () => {
      reject(error());
      work.then(late, () => undefined); // a late rejection is ignored: `error()` was reported
    });
    work.finally(cancel).then(resolve, reject);
  });
}

const blockedError = (name: string): IndexError =>
  new IndexError(
    'INDEX_BLOCKED',
    `index ${quote(name)}: another page keeps the database open, because the page uses an older version of the library or hangs. Close the other tabs of this site, and try again.`,
  );

/**
 * Deletes the database of an index. Resolves once the database is deleted. @throws IndexError INDEX_BLOCKED
 */
export async function deleteDatabase(name: string): Promise<void> {
  const { promise: waiting, reject: blocked } = Promise.withResolvers<never>();
  let cancel = (): void => undefined;
  const deleting = deleteDB(PREFIX + name, {
    blocked: () => (cancel = after(BLOCKED_MS, () => blocked(blockedError(name)))),
  });
  try {
    await Promise.race([deleting, waiting]);
  } finally {
    cancel();
  }
}

/** The first rows of a new database. */
export interface InitialRows {
  readonly header: HeaderRow;
  readonly state: StateRow;
  readonly items: readonly ItemRow[];
  readonly segments: readonly SegmentRow[];
}

export class Database {
  readonly #name: string;
  #connection: Promise<Connection> | undefined;
  #identity: string | undefined;
  #closed = false;

  constructor(name: string) {
    this.#name = name;
  }

  /**
   * Opens the database and returns the header of the index. If the connection is lost later, reconnecting
   * fails if the database then belongs to a different index of the same name.
   * @param initialRows the rows of a new database. If undefined and the database does not exist, it is not
   *   created, and INDEX_GONE is thrown
   * @throws IndexError INDEX_NEWER, INDEX_GONE, INDEX_STORAGE, INDEX_QUOTA, INDEX_BLOCKED
   */
  async open(initialRows: InitialRows | undefined): Promise<HeaderRow | undefined> {
    const header = await this.#retrying(
      () => this.#connected(() => this.#connect(initialRows)),
      (db) => db.get('header', ONLY),
    );
    this.#identity = header?.identity;
    return header;
  }

  /**
   * Runs `task` with the connection, and repeats it if the connection is lost while the task runs. A task
   * that writes must be idempotent: it must recognise that an earlier attempt was committed.
   */
  run<T>(task: (db: Connection) => Promise<T>): Promise<T> {
    return this.#retrying(() => this.#connected(() => this.#connectAgain()), task);
  }

  /**
   * Runs one transaction. When the promise resolves, the transaction is on disk; when the promise rejects,
   * nothing was changed.
   * @param need size of the change in bytes, for the message of INDEX_QUOTA
   */
  write<T>(stores: Stores, need: number, task: (transaction: Writing) => Promise<T>): Promise<T> {
    return this.run(async (db) => {
      const transaction = db.transaction(stores, 'readwrite', { durability: 'strict' });
      // Firefox sets the error of a transaction after it has reported the failed request, which `done` awaits.
      let cause: unknown;
      const note = ({ target }: Event): void => void (cause ??= (target as IDBRequest).error);
      unwrap(transaction).addEventListener('error', note, true);
      const failure = transaction.done.then(
        () => undefined,
        (error: unknown) => ({ error }),
      );
      try {
        const result = await task(transaction);
        const failed = await failure;
        if (failed) throw failed.error;
        return result;
      } catch (thrown) {
        abort(transaction);
        const { error: reason } = (await failure) ?? { error: thrown };
        // A failed request may report only an AbortError. The error of its transaction is then the cause.
        const error = [reason, cause].find(isQuota) ?? (isLost(thrown) ? reason : thrown);
        throw isQuota(error) ? await quotaError(this.#name, need, error) : error;
      }
    });
  }

  close(): void {
    this.#closed = true;
    this.#drop();
  }

  async #retrying<T>(connect: () => Promise<Connection>, task: (db: Connection) => Promise<T>): Promise<T> {
    for (let again = 0; ; again++) {
      if (this.#closed) throw closedError(this.#name);
      try {
        return await task(await connect());
      } catch (error) {
        if (this.#closed) throw closedError(this.#name);
        if (isQuota(error)) throw await quotaError(this.#name, 0, error);
        // DataCloneError is the caller's: `setState` was given a value that cannot be stored.
        if (error instanceof DOMException && error.name === 'DataCloneError') throw error;
        if (!isLost(error)) throw await typedError(this.#name, 'using the database', error);
        if (again === REOPENINGS)
          throw storageError(
            this.#name,
            `the database failed ${REOPENINGS + 1} times (${String(error)})`,
            error,
          );
        this.#drop();
        await wait(REOPENING_MS * again);
      }
    }
  }

  /** Returns the connection, or makes one. The next call tries again if that fails. */
  #connected(make: () => Promise<Connection>): Promise<Connection> {
    if (this.#connection) return this.#connection;
    const made = make();
    this.#connection = made;
    made.catch(() => {
      if (this.#connection === made) this.#connection = undefined;
    });
    return made;
  }

  #drop(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.then(
      (db) => db.close(),
      () => undefined,
    ); // if the opening failed, there is no connection to close
  }

  async #connectAgain(): Promise<Connection> {
    const db = await this.#connect(undefined);
    const header = await db.get('header', ONLY);
    if (header?.identity === this.#identity && header?.deleting === false) return db;
    db.close();
    throw goneError(this.#name);
  }

  async #connect(initialRows: InitialRows | undefined): Promise<Connection> {
    if (!storageGlobal('indexedDB')) throw storageError(this.#name, NO_DATABASE);
    let missing = false;
    let blocked = false;
    let open = true;
    const drop = (): void => {
      if (open) this.#drop();
    };
    const opening = async (): Promise<Connection> =>
      openDB<Schema>(PREFIX + this.#name, FORMAT, {
        upgrade: (db, _from, _to, transaction) => {
          ignoreRejection(transaction.done); // the error of `openDB` reports the abort
          if (initialRows) return void make(db, transaction, initialRows);
          missing = true;
          transaction.abort();
        },
        blocked: () => (blocked = true),
        blocking: (_current, _wanted, event) => {
          (event.target as IDBDatabase).close();
          drop();
        },
        terminated: drop,
      });
    try {
      const opened = await within(
        OPENING_MS,
        opening(),
        () => blockedError(this.#name),
        (db) => db.close(),
      );
      ignoreEnds(opened);
      return opened;
    } catch (error) {
      open = false;
      if (missing) throw goneError(this.#name);
      if (error instanceof IndexError && !blocked)
        throw storageError(this.#name, `the database did not open within ${OPENING_MS / 1000} s`, error);
      if (error instanceof DOMException && error.name === 'VersionError')
        throw newerError(this.#name, 'a newer format', error);
      if (error instanceof DOMException && error.name === 'SecurityError')
        throw storageError(this.#name, `IndexedDB is not allowed (${error.message})`, error);
      throw error;
    }
  }
}

function make(
  db: Connection,
  transaction: IDBPTransaction<Schema, Stores, 'versionchange'>,
  { header, state, items, segments }: InitialRows,
): void {
  db.createObjectStore('items', { keyPath: 'sequence' });
  db.createObjectStore('removals', { keyPath: 'sequence' });
  db.createObjectStore('segments', { keyPath: 'name' });
  for (const name of ['header', 'state', 'thumbnails', 'records'] as const) db.createObjectStore(name);
  ignoreRejection(transaction.objectStore('header').put(header, ONLY));
  ignoreRejection(transaction.objectStore('state').put(state, ONLY));
  for (const row of items) ignoreRejection(transaction.objectStore('items').put(row));
  for (const row of segments) ignoreRejection(transaction.objectStore('segments').put(row));
}

/** Ignores the rejection of a request in a transaction, because the transaction reports the error. */
export const ignoreRejection = (request: Promise<unknown>): void => void request.catch(() => undefined);

/**
 * Ignores the rejections of the promises `done` that idb makes for all transactions of a connection. The
 * requests report the error of a transaction that only reads, and `write` waits for the other transactions.
 */
function ignoreEnds(connection: Connection): void {
  const raw = unwrap(connection);
  raw.transaction = (...given) => {
    const transaction = IDBDatabase.prototype.transaction.apply(raw, given);
    ignoreRejection(wrap(transaction).done);
    return transaction;
  };
}

function abort(transaction: Writing): void {
  try {
    transaction.abort();
  } catch {
    // The transaction has already ended.
  }
}
