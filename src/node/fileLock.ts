/** A lock between processes: a file that one process at a time may create. */
import { open, readFile, readlink, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { untilAborted } from '../platform/abort.js';
import { wait } from '../platform/pause.js';

/** How often a waiting process tries again, in ms. */
const TRY_EVERY_MS = 50;
/** How often the holder renews the date of its file, in ms. */
const RENEW_EVERY_MS = 10_000;
/**
 * A file whose process cannot be looked up, because it runs elsewhere, counts as left behind if it was not renewed for
 * this long, in ms.
 */
const STALE_MS = 120_000;
/**
 * Windows refuses to create a file while another process removes it. After this many refusals in a row, about 5 s, this
 * process may not write into the folder.
 */
const REFUSALS = 100;

/** The end of each lock's queue in this process, by path. */
const queues = new Map<string, Promise<unknown>>();

/**
 * Runs `task` while no other process holds the lock `path`, and no other task of this process. The lock of a
 * process that has ended without releasing it is removed. The folder of the file must exist.
 *
 * @throws the errors of `task`; errors of the file system; the signal's reason
 */
export async function withFileLock<T>(
  path: string,
  signal: AbortSignal | undefined,
  task: () => Promise<T>,
): Promise<T> {
  const before = queues.get(path) ?? Promise.resolve();
  const run = untilAborted(() => before, signal).then(async () => {
    const release = await acquire(path, signal);
    try {
      return await task();
    } finally {
      await release();
    }
  });
  // A task that is aborted while it waits ends before the tasks before it.
  const end = Promise.allSettled([before, run]).then(() => {
    if (queues.get(path) === end) queues.delete(path);
  });
  queues.set(path, end);
  return run;
}

/** True if a file could not be written because of permissions, or because its file system is read-only. */
export const isForbidden = (error: unknown): boolean =>
  ['EACCES', 'EPERM', 'EROFS'].includes(String((error as Partial<NodeJS.ErrnoException> | undefined)?.code));

async function acquire(path: string, signal: AbortSignal | undefined): Promise<() => Promise<void>> {
  const own = await ownName();
  const watch = new Watch();
  const watchGuard = new Watch();
  for (let refusals = 0; ;) {
    const made = await create(path, own);
    if (made === true) break;
    refusals = made === false ? 0 : refusals + 1;
    if (refusals > REFUSALS) throw made;
    if (await isLeftBehind(path, watch)) await removeLeftBehind(path, watch, watchGuard, own);
    await wait(TRY_EVERY_MS * (0.5 + Math.random()), signal);
  }
  const isOwn = async (): Promise<boolean> => (await readFile(path, 'utf8').catch(() => '')) === own;
  const timer = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined); // the next renewal tries again
  }, RENEW_EVERY_MS);
  timer.unref();
  return async () => {
    clearInterval(timer);
    if (await isOwn()) await rm(path, { force: true });
  };
}

/**
 * Creates the file with this content. Returns false if the file exists, and on Windows the error if another process may
 * be removing it.
 */
async function create(path: string, content: string): Promise<boolean | Error> {
  try {
    const file = await open(path, 'wx');
    try {
      await file.writeFile(content);
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    } finally {
      await file.close();
    }
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    if ((code === 'EPERM' || code === 'EBUSY') && process.platform === 'win32') return error as Error;
    throw error;
  }
}

/**
 * Returns when a process was started, as Linux counts it. Undefined on other systems, or if it cannot be read. A
 * process may have the number of one that has ended: the start time tells them apart.
 */
async function startOf(pid: number | 'self'): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')[19]; // field 22; field 2 is the name in brackets
}

/** Where process numbers are unique: a machine, on Linux a container. */
const place = async (): Promise<string> =>
  `${hostname()} ${await readlink('/proc/self/ns/pid').catch(() => '')}`;

let ownPlace: Promise<string> | undefined;
let ownText: Promise<string> | undefined;

/** The content of this process's lock files: its number, its start time and its place. */
const ownName = (): Promise<string> =>
  (ownText ??= Promise.all([startOf('self'), (ownPlace ??= place())]).then(
    ([start, where]) => `${process.pid} ${start ?? ''} ${where}\n`,
  ));

/** Measures for how long a file was not renewed while this process waited. */
class Watch {
  #dateMs = 0;
  #unchangedMs = 0;

  /**
   * Returns true if the date has not changed for STALE_MS. Counts the time of waiting, not that of the clock: when a
   * computer sleeps, the holder sleeps too.
   */
  isStale(dateMs: number): boolean {
    this.#unchangedMs = dateMs === this.#dateMs ? this.#unchangedMs + TRY_EVERY_MS : 0;
    this.#dateMs = dateMs;
    return this.#unchangedMs > STALE_MS;
  }
}

/** Returns whether the process that created the file has ended. */
async function isLeftBehind(path: string, watch: Watch): Promise<boolean> {
  try {
    const [text, { mtimeMs }] = await Promise.all([readFile(path, 'utf8'), stat(path)]);
    const [, pid, start, where] = /^(\d+) (\d*) (.*)\n$/.exec(text) ?? [];
    // A file without a name: its process is about to write the name, or has ended before that.
    if (pid === undefined || where !== (await (ownPlace ??= place()))) return Date.now() - mtimeMs > STALE_MS;
    if (!isRunning(Number(pid))) return true;
    const startNow = await startOf(Number(pid));
    if (start !== '' && startNow !== undefined) return startNow !== start;
    return watch.isStale(mtimeMs); // another process may have this number
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0); // sends no signal
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // it belongs to another user
  }
}

/**
 * Removes a file that was left behind. A second lock keeps two processes from removing it one after the other,
 * the second one when a third process has already taken the lock anew.
 */
async function removeLeftBehind(path: string, watch: Watch, watchGuard: Watch, own: string): Promise<void> {
  const guard = `${path}.removal`;
  if ((await create(guard, own)) === true) {
    try {
      if (await isLeftBehind(path, watch)) await rm(path, { force: true });
    } finally {
      await rm(guard, { force: true });
    }
  } else if (await isLeftBehind(guard, watchGuard)) await rm(guard, { force: true });
}
