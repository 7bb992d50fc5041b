/**
 * An index's database, through `idb`: opened again where the browser has closed it, closed where another page
 * needs that.
 */
import { deleteDB, openDB, type IDBPDatabase, type IDBPTransaction, type StoreNames } from 'idb';
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
export type Writing = IDBPTransaction<Schema, Stores, 'readwrite'>;

const PREFIX = 'dinov2-webgpu-search/';
/** A connection that is lost is opened again so often. */
const REOPENINGS = 3;
const REOPENING_MS = 100;
/**
 * What another page has to let go of, it lets go of at once; a database that opens later than this does not
 * open.
 */
const BLOCKED_MS = 5_000;
const OPENING_MS = 30_000;

/**
 * Names of all indexes that have a database, this library's or a newer one's; undefined where the browser
 * does not tell.
 */
export async function databaseNames(): Promise<string[] | undefined> {
  const found = await (indexedDB as Partial<IDBFactory>).databases?.();
  return found?.flatMap(({ name }) => (name?.startsWith(PREFIX) ? name.slice(PREFIX.length) : []));
}

/**
 * Rejects what does not end within `ms`: the browser cannot be made to give up, so what comes later is undone
 * by `late`.
 */
function within<T>(
  ms: number,
  work: Promise<T>,
  error: () => IndexError,
  late: (value: T) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(error());
      work.then(late, () => undefined); // told already
    }, ms);
    work.finally(() => clearTimeout(timer)).then(resolve, reject);
  });
}

const blockedError = (name: string): IndexError =>
  new IndexError(
    'INDEX_BLOCKED',
    `index ${quote(name)}: expected other pages to let go of it, found one that holds it: with an older version of the library, or stopped in mid-work. Close the other tabs of this site, and try again.`,
  );

/** Resolves when the database is gone. */
export async function deleteDatabase(name: string): Promise<void> {
  const { promise: waiting, reject: blocked } = Promise.withResolvers<never>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const deleting = deleteDB(PREFIX + name, {
    blocked: () => (timer = setTimeout(() => blocked(blockedError(name)), BLOCKED_MS)),
  });
  try {
    await Promise.race([deleting, waiting]);
  } finally {
    clearTimeout(timer);
  }
}

/** What a new database begins with; without it a database that is missing is not made. */
export interface Beginning {
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
   * What the index is. Afterwards the database is this index's, and no other of the same name. @throws
   * IndexError INDEX_NEWER, INDEX_GONE, INDEX_STORAGE, INDEX_QUOTA, INDEX_BLOCKED
   */
  async open(beginning: Beginning | undefined): Promise<HeaderRow | undefined> {
    const header = await this.#retrying(
      () => (this.#connection ??= this.#connect(beginning)),
      (db) => db.get('header', ONLY),
    );
    this.#identity = header?.identity;
    return header;
  }

  /**
   * Runs `task`, again where the connection was lost meanwhile: what it writes must be recognisable as
   * written already.
   */
  run<T>(task: (db: Connection) => Promise<T>): Promise<T> {
    return this.#retrying(() => (this.#connection ??= this.#connectAgain()), task);
  }

  /**
   * One transaction on disk when it resolves, or nothing of it. @param need bytes that it brings, for the
   * message where there is no room
   */
  write<T>(stores: Stores, need: number, task: (transaction: Writing) => Promise<T>): Promise<T> {
    return this.run(async (db) => {
      const transaction = db.transaction(stores, 'readwrite', { durability: 'strict' });
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
        const error = isQuota(reason) || isLost(thrown) ? reason : thrown; // a request says AbortError, the transaction says why
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
        if (!isLost(error)) throw error;
        if (again === REOPENINGS)
          throw storageError(
            this.#name,
            `its database failed ${REOPENINGS + 1} times (${String(error)})`,
            error,
          );
        this.#drop();
        await wait(REOPENING_MS * again);
      }
    }
  }

  #drop(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.then(
      (db) => db.close(),
      () => undefined,
    ); // one that was never there needs no closing
  }

  async #connectAgain(): Promise<Connection> {
    const db = await this.#connect(undefined);
    const header = await db.get('header', ONLY);
    if (header?.identity === this.#identity && header?.deleting === false) return db;
    db.close();
    throw goneError(this.#name);
  }

  async #connect(beginning: Beginning | undefined): Promise<Connection> {
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
          if (beginning) return void make(db, transaction, beginning);
          missing = true;
          transaction.done.catch(() => undefined); // the opening fails with it
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
      return await within(
        OPENING_MS,
        opening(),
        () => blockedError(this.#name),
        (db) => db.close(),
      );
    } catch (error) {
      open = false;
      if (missing) throw goneError(this.#name);
      if (error instanceof IndexError && !blocked)
        throw storageError(this.#name, `its database did not open within ${OPENING_MS / 1000} s`, error);
      if (error instanceof DOMException && error.name === 'VersionError')
        throw newerError(this.#name, 'a newer one', error);
      if (error instanceof DOMException && error.name === 'SecurityError')
        throw storageError(this.#name, `IndexedDB is not allowed (${error.message})`, error);
      throw error;
    }
  }
}

function make(
  db: Connection,
  transaction: IDBPTransaction<Schema, Stores, 'versionchange'>,
  { header, state, items, segments }: Beginning,
): void {
  db.createObjectStore('items', { keyPath: 'sequence' });
  db.createObjectStore('removals', { keyPath: 'sequence' });
  db.createObjectStore('segments', { keyPath: 'name' });
  for (const name of ['header', 'state', 'thumbnails', 'records'] as const) db.createObjectStore(name);
  told(transaction.objectStore('header').put(header, ONLY));
  told(transaction.objectStore('state').put(state, ONLY));
  for (const row of items) told(transaction.objectStore('items').put(row));
  for (const row of segments) told(transaction.objectStore('segments').put(row));
}

/** A request within a transaction, whose failure the transaction tells. */
export const told = (request: Promise<unknown>): void => void request.catch(() => undefined);

function abort(transaction: Writing): void {
  try {
    transaction.abort();
  } catch {
    // it has ended already
  }
}
