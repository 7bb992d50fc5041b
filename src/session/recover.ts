/**
 * Recovers a model from the loss of its device: requests a new device, and loads the weights again from the
 * cache or the source. `Sessions` imports this module when a first call has succeeded, because a loss may come
 * when the page has no network.
 */
import { DeviceError, modelDisposed } from '../errors.js';
import { untilAborted } from '../platform/abort.js';
import { wait } from '../platform/pause.js';
import type { DeviceLoss, RecoverOptions, SessionHolder } from './deviceLoss.js';
import { Session, type SessionParts } from './session.js';

/** Most recoveries that calls start by themselves within `PERIOD_MS`. */
const MOST_RECOVERIES = 2;
const PERIOD_MS = 60_000;
/** Waits before the adapter is requested again. A browser needs some time to restart its GPU process. */
const ADAPTER_WAITS_MS = [250, 1000];

interface State {
  /** The recovery in progress, which all calls share. */
  running: Promise<void> | undefined;
  /** When recoveries that calls started began, by `performance.now`. */
  readonly begunMs: number[];
}
const states = new WeakMap<SessionHolder, State>();
const lossOf = new WeakMap<Session, Writable<DeviceLoss>>();
type Writable<Type> = { -readonly [Name in keyof Type]: Type[Name] };

/**
 * Replaces a session of a model. Does nothing if the session was replaced already, or if its device is not lost
 * and the caller passes no other device. Calls at the same time share one recovery.
 *
 * @throws DeviceError DEVICE_LOST if the model cannot recover, DEVICE_REFUSED, DISPOSED, KERNEL_WRONG,
 *   KERNEL_COMPILE, DEVICE_MEMORY; the signal's reason
 */
export async function recover(
  sessions: SessionHolder,
  lost: Session,
  { signal, device, byCaller = false }: RecoverOptions,
): Promise<void> {
  let state = states.get(sessions);
  if (!state) states.set(sessions, (state = { running: undefined, begunMs: [] }));
  const { begunMs } = state;
  // A running recovery has another device than the caller's. Calls that wait run in order: the last device stays.
  while (device && state.running) await state.running.catch(() => undefined);
  if (sessions.ending.signal.aborted) throw modelDisposed();
  if (!state.running) {
    const session = device ? sessions.current : lost;
    if (session !== sessions.current) return;
    if (device ? device === session.gpu.device && !session.gpu.lost : !session.gpu.lost) return;
    const loss = noted(sessions, session);
    const refused = refusal(session, device, byCaller, begunMs);
    if (refused) {
      if (loss) loss.error = refused;
      throw refused;
    }
    if (!byCaller) begunMs.push(performance.now());
    const startMs = performance.now();
    state.running = replace(sessions, session, device)
      .then(
        () => {
          if (!loss) return;
          loss.recoveredMs = performance.now() - startMs;
          loss.newAdapter = sessions.current.gpu.pipelines.adapter;
          delete loss.error;
        },
        (error: unknown) => {
          if (loss) loss.error = error as Error;
          throw error;
        },
      )
      .finally(() => (state.running = undefined));
    state.running.catch(() => undefined); // every caller may have stopped waiting
  }
  const { running } = state;
  await untilAborted(() => running, signal);
}

/** Adds the loss of a session's device to the list, once. Returns undefined if the device is not lost. */
function noted(sessions: SessionHolder, session: Session): Writable<DeviceLoss> | undefined {
  const { lost, pipelines } = session.gpu;
  if (!lost) return undefined;
  let loss = lossOf.get(session);
  if (!loss) {
    const { reason, message } = lost;
    lossOf.set(session, (loss = { time: Date.now(), reason, message, adapter: pipelines.adapter }));
    sessions.losses.push(loss);
  }
  return loss;
}

/** Returns why a session is not replaced; undefined if it may be. */
function refusal(
  { gpu, parts }: Session,
  device: GPUDevice | undefined,
  byCaller: boolean,
  begunMs: number[],
): DeviceError | undefined {
  const because = (advice: string): DeviceError =>
    new DeviceError(
      'DEVICE_LOST',
      `The GPU device was lost (${gpu.lost?.reason ?? 'replaced'}), and the model cannot recover: ${advice}`,
    );
  if (!parts.reload)
    return because(
      'its weights came from a stream, which cannot be read again. Load the model again; from a File, a Blob or a URL, a model recovers by itself.',
    );
  if (!gpu.owned && !device)
    return because(
      'the device is your own, which the library never replaces. Pass a new device to model.recover(device).',
    );
  while (begunMs[0]! < performance.now() - PERIOD_MS) begunMs.shift();
  if (byCaller || begunMs.length < MOST_RECOVERIES) return undefined;
  return because(
    `it has already recovered ${MOST_RECOVERIES} times within a minute. Call model.recover() to recover nevertheless, or use smaller images or batches.`,
  );
}

async function replace(sessions: SessionHolder, lost: Session, device: GPUDevice | undefined): Promise<void> {
  const { signal } = sessions.ending;
  let parts: SessionParts | undefined;
  try {
    parts = await reloaded(lost.parts, device, signal);
    checkSame(lost.parts, parts);
    const session = new Session(parts);
    let before: SessionHolder['tuned'];
    let tuned: SessionHolder['tuned'];
    do {
      before = sessions.tuned;
      tuned = await tunedAgain(session, before, signal);
    } while (before !== sessions.tuned); // a call of `tune` on the old session has ended meanwhile
    signal.throwIfAborted();
    sessions.current = session;
    sessions.tuned = tuned;
    void lost.dispose();
  } catch (error) {
    if (parts) await new Session(parts).dispose();
    if (signal.aborted) throw modelDisposed();
    throw error;
  }
}

/**
 * Tunes a new session as the old one was tuned. The kernels are tested on the new device. A stored result is not
 * measured again.
 */
async function tunedAgain(
  session: Session,
  before: SessionHolder['tuned'],
  signal: AbortSignal,
): Promise<SessionHolder['tuned']> {
  if (!before?.tuning) return before;
  const { sizesPx, tuning, arithmetic } = before;
  const store = keeping({ ...tuning, arithmetic: arithmetic?.used });
  const report = await session.forwards.tune({
    sizesPx,
    store,
    arithmetic: arithmetic !== undefined,
    signal,
  });
  return { sizesPx, tuning: report.tuning, arithmetic: report.arithmetic };
}

/** Loads the parts of a model on a new device. */
async function reloaded(
  { reload, precision }: SessionParts,
  device: GPUDevice | undefined,
  signal: AbortSignal,
): Promise<SessionParts> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await reload!({ device, signal, dtype: precision.dtype });
    } catch (error) {
      signal.throwIfAborted();
      const code = error instanceof DeviceError ? error.code : undefined;
      const waitMs = ADAPTER_WAITS_MS[attempt];
      const isRefused = code === 'ADAPTER_MISSING' || code === 'DEVICE_FAILED';
      if (waitMs !== undefined && isRefused) await wait(waitMs, signal);
      else if (isRefused)
        throw new DeviceError(
          'DEVICE_REFUSED',
          `The GPU device was lost, and the browser provides no new one: ${(error as Error).message} Restart the browser; after several GPU crashes, browsers block the GPU until then.`,
          { cause: error },
        );
      else if (code !== undefined && (code !== 'DEVICE_LOST' || device)) throw error;
      else if (code === undefined || waitMs === undefined)
        throw new DeviceError(
          'DEVICE_LOST',
          `The GPU device was lost, and the model could not be loaded again: ${error instanceof Error ? error.message : String(error)} The next call tries again, or model.recover().`,
          { cause: error },
        );
    }
  }
}

/**
 * Throws if the reloaded files are those of another model: a model must not change in silence.
 * @throws DeviceError DEVICE_LOST
 */
function checkSame(before: SessionParts, after: SessionParts): void {
  const text = ({ config, preprocessing }: SessionParts): string => JSON.stringify([config, preprocessing]);
  const { posEmbed } = before.weights;
  if (text(before) === text(after) && after.weights.posEmbed.every((value, i) => value === posEmbed[i]))
    return;
  throw new DeviceError(
    'DEVICE_LOST',
    'The GPU device was lost, and the files of the model have changed since it was loaded. Load the model again.',
  );
}

/** A tuning store that holds one result. */
const keeping = (tuning: unknown): { get(): Promise<unknown>; set(): Promise<void> } => ({
  get: async () => tuning,
  set: async () => undefined,
});
