/** Provides a function that runs synchronous code inside WebGPU error scopes. */

const FILTERS = ['validation', 'out-of-memory', 'internal'] as const;

/**
 * Runs the function `run` with an error scope of each kind open. All scopes are closed before this function
 * returns, so they catch no errors that other code causes on the device.
 *
 * @returns the result of `run`, and a promise of the first error; null if there was none. The promise rejects
 *   if the browser cannot say whether there was an error, as after a crash of its GPU process
 * @throws what `run` throws
 */
export function scoped<Result>(
  device: GPUDevice,
  run: () => Result,
): { readonly result: Result; readonly verdict: Promise<GPUError | null> } {
  for (const filter of FILTERS) device.pushErrorScope(filter);
  let verdict: Promise<GPUError | null>;
  let result: Result;
  try {
    result = run();
  } finally {
    const pops = FILTERS.map(() => device.popErrorScope());
    verdict = Promise.all(pops).then((errors) => errors.find((error) => error !== null) ?? null);
    verdict.catch(() => undefined); // if `run` throws, nothing awaits the verdict
  }
  return { result, verdict };
}
