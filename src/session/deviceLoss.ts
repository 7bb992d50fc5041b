/** Types of the recovery from a loss of a model's device. */
import type { TuningReport } from '../options.js';
import type { Session } from './session.js';

/** A loss of a model's device, and what became of it. */
export interface DeviceLoss {
  /** When a call noticed the loss, in milliseconds since 1970. */
  readonly time: number;
  /** The reason that WebGPU gives. `destroyed`: code of the page called `device.destroy()`. */
  readonly reason: 'destroyed' | 'unknown';
  /** The browser's message. */
  readonly message: string;
  /** The adapter of the lost device. */
  readonly adapter: string;
  /** The adapter of the new device. If it differs from `adapter`, results may differ in their last bits. */
  readonly newAdapter?: string | undefined;
  /** Duration of the recovery in milliseconds; undefined while the model has not recovered. */
  readonly recoveredMs?: number | undefined;
  /** The error of the last attempt to recover; undefined if there was no attempt, or if it succeeded. */
  readonly error?: Error | undefined;
}

/** The holder of a model's session. */
export interface SessionHolder {
  /** The session in use. The session of a lost device stays in use until the model has recovered. */
  current: Session;
  /** Aborted when the model is disposed of. */
  readonly ending: AbortController;
  /** The losses of the model's devices that calls have noticed, the oldest first. */
  readonly losses: DeviceLoss[];
  /**
   * The last result of `tune`, whose kernels the next session uses too. `arithmetic`: that of the last call
   * with the option `arithmetic`.
   */
  tuned: ({ readonly sizesPx: readonly number[] } & Pick<TuningReport, 'tuning' | 'arithmetic'>) | undefined;
}

export interface RecoverOptions {
  /** Stops waiting. The recovery continues for other calls. */
  readonly signal?: AbortSignal | undefined;
  /** The caller's new device. */
  readonly device?: GPUDevice | undefined;
  /** True if the caller asked for the recovery. It is then not limited to two a minute. */
  readonly byCaller?: boolean;
}
