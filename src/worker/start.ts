/** Starts the worker. */
import { DeviceError } from '../errors.js';

/** Where the worker's file is, where bundlers and servers cannot know. */
export interface WorkerOptions {
  /**
   * URL of `worker-thread.js`, for pages whose policy or bundler wants it elsewhere. It must be of the page's
   * own origin, and `index.js` and what that imports must lie beside it. Default: beside the file that the
   * page has imported.
   */
  readonly workerUrl?: string | URL | undefined;
  /**
   * `shared`: all models of the page are in one worker, on one device. `own`: this one has a worker for
   * itself. Default: `shared`.
   */
  readonly worker?: 'shared' | 'own' | undefined;
}

/** @throws DeviceError WORKER_LOST */
export function start(workerUrl: string | URL | undefined): Worker {
  try {
    // In this form Vite, webpack and plain modules find the file; see vite.config.ts.
    return workerUrl === undefined
      ? new Worker(new URL('./thread.ts', import.meta.url), { type: 'module', name: 'dinov2-webgpu' })
      : new Worker(workerUrl, { type: 'module', name: 'dinov2-webgpu' });
  } catch (cause) {
    throw notStarted(String(cause), cause);
  }
}

export function notStarted(found: string, cause?: unknown): DeviceError {
  return new DeviceError(
    'WORKER_LOST',
    `The worker could not be started: expected worker-thread.js from this page's origin, found ${found}. Serve it with index.js and the files beside it, ` +
      'allow it in the Content-Security-Policy (worker-src), or say where it is (workerUrl). The entry dinov2-webgpu needs no worker.',
    { cause },
  );
}
