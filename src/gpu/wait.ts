/**
 * Waiting for the GPU. Some browsers look for finished work on a timer, so a promise of the GPU resolves late:
 * up to 100 ms in Firefox, about 2 ms in Chrome on some systems. All waits of the library go through `waitFor`,
 * which shortens them there (pollingDelay.ts).
 */
import type { Nudge, PollingDelay } from './pollingDelay.js';

const delays = new WeakMap<GPUDevice, PollingDelay>();

/**
 * Prepares short waits on a device, once. The browser's delay is measured beside other work: nothing waits for
 * the measurement, and waits take as long as the browser lets them until it has ended.
 */
export function shortenWaits(device: GPUDevice): void {
  const nudge = nudgeOf(globalThis.navigator?.userAgent ?? '', device.adapterInfo?.vendor ?? '');
  if (!nudge) return;
  import('./pollingDelay.js').then(
    ({ PollingDelay }) => delays.set(device, new PollingDelay(device, nudge)),
    () => undefined, // without this file, waits are right and long
  );
}

/**
 * Settles as `answer` does, a promise of `mapAsync` or `onSubmittedWorkDone` of this device.
 * @param lastsLong the wait takes tens of milliseconds, and a few more are no matter: the processor is then
 *   left to others
 */
export function waitFor<T>(device: GPUDevice, answer: Promise<T>, lastsLong = false): Promise<T> {
  return delays.get(device)?.waitFor(answer, lastsLong) ?? answer;
}

/**
 * Resolves when the GPU has done all that was submitted so far.
 * @param lastsLong see `waitFor`
 */
export const submittedWorkDone = (device: GPUDevice, lastsLong = false): Promise<undefined> =>
  waitFor(device, device.queue.onSubmittedWorkDone(), lastsLong);

/**
 * What makes a browser look for finished work at once. Apple's GPUs have no delay in Chrome, and error scopes
 * make waits longer there; Safari and Node have no delay at all.
 */
export function nudgeOf(userAgent: string, vendor: string): Nudge | undefined {
  if (vendor === 'apple') return undefined;
  if (/Firefox\//.test(userAgent)) return 'emptySubmits';
  return /Chrome\//.test(userAgent) ? 'errorScopes' : undefined;
}
