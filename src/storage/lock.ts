/** Runs tasks under a Web Lock, which one page or worker of the origin holds at a time. */

import { host } from '../platform/host.js';

/**
 * Runs `task` while no other page or worker of the origin holds the lock. The browser releases the lock when
 * the page ends, even after a crash.
 * @param unavailable called instead of `task` if this page cannot use locks: the browser has no Web Locks
 *   (`cause` is undefined), or refuses them, as in a sandboxed frame
 * @throws the errors of `task` or `unavailable`; the signal's reason
 */
export async function withLock<T>(
  name: string,
  signal: AbortSignal | undefined,
  task: () => Promise<T>,
  unavailable: (cause: unknown) => T | Promise<T>,
): Promise<T> {
  const locks = (globalThis.navigator as Navigator | undefined)?.locks as LockManager | undefined;
  if (!locks && !host.lock) return unavailable(undefined);
  let begun = false;
  const begin = (): Promise<T> => {
    begun = true;
    return task();
  };
  try {
    if (host.lock) return await host.lock(name, signal, begin);
    return (await locks!.request(name, signal ? { signal } : {}, begin)) as T;
  } catch (error) {
    if (begun || signal?.aborted === true) throw error;
    return unavailable(error);
  }
}
