/** Error scopes around a synchronous stretch: WebGPU tells the errors of a device later, to whose scope was open. */

const FILTERS = ['validation', 'out-of-memory', 'internal'] as const;

/**
 * Runs `run` with a scope of each kind open, and closes them before it returns: no other code on the device
 * meets them.
 *
 * @returns what `run` returns, and the first error of the stretch, or null; null too where the device was lost
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
    const pops = FILTERS.map(() => device.popErrorScope().catch(() => null)); // a lost device rejects
    verdict = Promise.all(pops).then((errors) => errors.find((error) => error !== null) ?? null);
  }
  return { result, verdict };
}
