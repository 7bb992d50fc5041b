/** The session of a model, and its replacement after a loss of the device. */
import { DeviceError, modelDisposed } from '../errors.js';
import { loadPart } from '../platform/part.js';
import type { DeviceLoss, RecoverOptions, SessionHolder } from './deviceLoss.js';
import { Session, type SessionParts } from './session.js';

const loadRecovery = (): Promise<typeof import('./recover.js')> => loadPart(import('./recover.js'));

/** Runs the tasks of one model. Holds the model's session. */
export class Sessions implements SessionHolder {
  current: Session;
  readonly ending: AbortController = new AbortController();
  readonly losses: DeviceLoss[] = [];
  tuned: SessionHolder['tuned'];
  #recovery: ReturnType<typeof loadRecovery> | undefined;

  constructor(parts: SessionParts) {
    this.current = new Session(parts);
  }

  /** Throws if the model was disposed of. @throws DeviceError DISPOSED */
  alive(): void {
    if (this.ending.signal.aborted) throw modelDisposed();
  }

  /**
   * Runs a task with the session. If the session's device is lost meanwhile and can be replaced, the task
   * runs once more, with the new session.
   *
   * @param signal stops waiting for the new session. The recovery continues
   * @param repeatable tells after a loss whether the task may run again. Default: it may
   * @throws what `task` throws; DeviceError DISPOSED, DEVICE_LOST, DEVICE_REFUSED; the signal's reason
   */
  async run<Result>(
    task: (session: Session) => Promise<Result>,
    signal?: AbortSignal,
    repeatable?: () => boolean,
  ): Promise<Result> {
    for (let repeated = false; ; repeated = true) {
      this.alive();
      const session = this.current;
      try {
        const result = await task(session);
        // The code is fetched before a loss, because a loss may come when the page has no network.
        (this.#recovery ??= loadRecovery()).catch(() => undefined);
        return result;
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
        this.alive();
        if (repeated || (error.code !== 'DEVICE_LOST' && session === this.current)) throw error;
        await this.recover(session, { signal });
        if (repeatable?.() === false) throw error;
      }
    }
  }

  /** Replaces the session; see `recover` in recover.ts. */
  async recover(session: Session, options: RecoverOptions): Promise<void> {
    await (await (this.#recovery ??= loadRecovery())).recover(this, session, options);
  }

  /** Makes later calls throw, and frees the session when its running forward passes have ended. */
  dispose(): void {
    if (this.ending.signal.aborted) return;
    this.ending.abort(modelDisposed());
    void this.current.dispose();
  }
}
