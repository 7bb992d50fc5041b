/**
 * Waits for the GPU. Some browsers poll for finished GPU work on a timer, so WebGPU's promises resolve late:
 * up to 100 ms in Firefox, about 2 ms in Chrome on some systems. All waits of the library go through
 * `waitFor`, which shortens this polling delay (`pollingDelay.ts`).
 */
import type { Nudge, PollingDelay } from './pollingDelay.js';

const delays = new WeakMap<GPUDevice, PollingDelay>();

/**
 * Starts to measure the browser's polling delay on a device. Call this function once for each device. Nothing
 * waits for the measurement. Waits are not shortened until the measurement has ended.
 */
export function shortenWaits(device: GPUDevice): void {
  const nudge = nudgeOf(globalThis.navigator?.userAgent ?? '', device.adapterInfo?.vendor ?? '');
  if (!nudge) return;
  import('./pollingDelay.js').then(
    ({ PollingDelay }) => delays.set(device, new PollingDelay(device, nudge)),
    () => undefined, // if pollingDelay.ts fails to load, waits are longer but results are the same
  );
}

/**
 * Waits for `answer`, a promise of the device's `mapAsync` or `onSubmittedWorkDone`, and returns its result.
 *
 * @param lastsLong true if the wait takes tens of milliseconds. Polling is then less frequent and uses less
 *   CPU time
 */
export function waitFor<T>(device: GPUDevice, answer: Promise<T>, lastsLong = false): Promise<T> {
  return delays.get(device)?.waitFor(answer, lastsLong) ?? answer;
}

/**
 * Resolves when the GPU has finished all work submitted so far.
 *
 * @param lastsLong see `waitFor`
 */
export const submittedWorkDone = (device: GPUDevice, lastsLong = false): Promise<undefined> =>
  waitFor(device, device.queue.onSubmittedWorkDone(), lastsLong);

/**
 * Returns the call that makes this browser poll for finished GPU work. Undefined if the browser has no
 * polling delay: in Safari, in Node, and in Chrome on Apple GPUs, where error scopes would make waits longer.
 */
export function nudgeOf(userAgent: string, vendor: string): Nudge | undefined {
  if (vendor === 'apple') return undefined;
  if (/Firefox\//.test(userAgent)) return 'emptySubmits';
  return /Chrome\//.test(userAgent) ? 'errorScopes' : undefined;
}
