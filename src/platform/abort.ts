/**
 * Runs a function and resolves to its result. Rejects with `signal.reason` as soon as the signal is aborted,
 * even if the function ignores the signal.
 */
export async function untilAborted<T>(run: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  signal?.throwIfAborted();
  let onAbort: (() => void) | undefined;
  try {
    return await new Promise<T>((resolve, reject) => {
      onAbort = () => reject(signal!.reason);
      signal?.addEventListener('abort', onAbort, { once: true });
      run().then(resolve, reject);
    });
  } finally {
    signal?.removeEventListener('abort', onAbort!);
  }
}
