/** Starts the library's worker. */
import { DeviceError } from '../errors.js';

/** A `TrustedScriptURL`, which a Trusted Types policy of the page creates. */
export interface TrustedWorkerUrl {
  /** Returns the URL. */
  toString(): string;
  /** Returns the URL. */
  toJSON(): string;
}

/** Options that choose the worker for a call. */
export interface WorkerOptions {
  /**
   * URL of `worker-thread.js`, on the page's own origin. The same folder must hold `index.js` and the files
   * that `worker-thread.js` imports. Default: the file in the folder of the imported library file.
   */
  readonly workerUrl?: string | URL | undefined;
  /**
   * `shared`: all models of the page share one worker and its device. `own`: the model gets a worker of its
   * own. Default: `shared`.
   */
  readonly worker?: 'shared' | 'own' | undefined;
}

/** Starts a worker. @throws DeviceError WORKER_LOST */
export function start(workerUrl: WorkerOptions['workerUrl']): Worker {
  try {
    // Vite, webpack and browsers recognise this form of the URL; see vite.config.ts.
    return workerUrl === undefined
      ? new Worker(new URL('./thread.ts', import.meta.url), { type: 'module', name: 'dinov2-webgpu' })
      : new Worker(workerUrl as URL, { type: 'module', name: 'dinov2-webgpu' });
  } catch (cause) {
    throw notStarted(String(cause), cause);
  }
}

export function notStarted(found: string, cause?: unknown): DeviceError {
  return new DeviceError(
    'WORKER_LOST',
    `The worker could not be started: expected worker-thread.js from this page's origin, found ${found}. ` +
      "Likely: the bundler or server lacks it (esbuild, Rollup: add an entry; Vite 5 to 7: optimizeDeps: { exclude: ['dinov2-webgpu'] }, worker: { format: 'es' }), or a policy forbids it (worker-src; Trusted Types: workerUrl). See docs/guide/worker.md.",
    { cause },
  );
}
