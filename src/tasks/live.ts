/**
 * Continuous features of a video. At most two frames are in flight, so that the GPU always has work, and the
 * newest frame waits for its turn. Older frames that have not begun are dropped. The loop waits for the GPU
 * by `onSubmittedWorkDone` only: nothing is read back.
 */
import { DeviceError, OptionError } from '../errors.js';
import { wrongKind } from '../optionObject.js';
import { openSource, type LiveImage, type LiveSource, type RunSource } from './liveSource.js';
import { show } from '../platform/json.js';

/** The frame whose features are passed to `onFrame`. */
export interface LiveFrame {
  /**
   * The picture, for example to draw it beside the features. The library closes it when `onFrame` has
   * returned and its promise has settled; `frame.clone()` makes a frame of your own. The <video> itself in a
   * browser without `VideoFrame`.
   */
  readonly frame: VideoFrame | HTMLVideoElement;
  /** Number of the frame, from 0. Dropped frames count. */
  readonly index: number;
  /** Time of the frame in its video or stream, in milliseconds. */
  readonly timestampMs: number;
  /** Keeps the features after `onFrame`: the caller must call their `dispose()`. */
  keep(): void;
}

/** A running live video, as `DINOv2.live` returns it. */
export interface LiveVideo {
  /**
   * Resolves after `stop()`, and when the source has ended and the features of its last frame were delivered.
   * Rejects with `signal.reason` after an abort, and with the first error: of the source, the features, or
   * `onFrame`. When this promise settles, all frames are closed and no `onFrame` is running. If nothing
   * handles an error, the browser reports it as an unhandled rejection. An error after `stop()` is ignored.
   */
  readonly finished: Promise<void>;
  /** Frames per second whose features were delivered, measured over the last two seconds. */
  readonly fps: number;
  /** Number of frames that the source has delivered. */
  readonly framesIn: number;
  /**
   * Number of frames that were closed without being computed, because a newer frame arrived, and of frames that
   * were lost with the GPU's device.
   */
  readonly framesDropped: number;
  /**
   * Ends the live video. `onFrame` is not called again. Frames in flight are dropped. Further calls do
   * nothing.
   */
  stop(): void;
  /** Calls `stop()`. */
  [Symbol.dispose](): void;
}

/** The options of `live` that the loop uses itself. */
export interface LiveLoopOptions<FrameFeatures> {
  readonly onFrame: (features: FrameFeatures, info: LiveFrame) => unknown;
  readonly maxInFlight?: 1 | 2 | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What the loop does with a model, in the page or in a worker. */
export interface LiveSteps<FrameFeatures> {
  /** Computes features. Uses the pixels that a <video> has at the time of the call. */
  features(frame: LiveImage, signal: AbortSignal): Promise<FrameFeatures>;
  /** Resolves when the GPU has finished all work submitted so far. Reads nothing back. */
  computed(signal: AbortSignal): Promise<void>;
}

/** A frame with its number. */
interface Numbered {
  readonly frame: LiveImage;
  readonly index: number;
  readonly timestampMs: number;
}

/** Number of frames in flight by default, and the largest number. */
const MOST_IN_FLIGHT = 2;
/**
 * Number of consecutive frames that losses of the device may cost. A loss costs the frames in flight, and the
 * model recovers when it computes the next frame. More lost frames mean that it cannot recover.
 */
const MOST_LOST = 3;
/** Time in ms over which `fps` is measured. */
const RATE_MS = 2000;

/**
 * Starts the live video of a source.
 *
 * @throws OptionError OPTION_VALUE, if the source or an option is wrong; `signal.reason` after an abort
 */
export function startLive<FrameFeatures extends { dispose(): void }>(
  source: LiveSource,
  options: LiveLoopOptions<FrameFeatures>,
  steps: LiveSteps<FrameFeatures>,
): LiveVideo {
  const { onFrame, maxInFlight = MOST_IN_FLIGHT, signal } = options;
  if (typeof onFrame !== 'function') throw wrongKind('live', 'onFrame to be a function', onFrame);
  if (maxInFlight !== 1 && maxInFlight !== 2)
    throw new OptionError(
      'OPTION_VALUE',
      `live: expected maxInFlight 1 or ${MOST_IN_FLIGHT}, found ${show(maxInFlight)}.`,
    );
  const run = openSource(source);
  signal?.throwIfAborted();
  return new LiveLoop(run, onFrame, maxInFlight, signal ?? undefined, steps);
}

class LiveLoop<FrameFeatures extends { dispose(): void }> implements LiveVideo {
  readonly finished: Promise<void>;
  framesIn = 0;
  framesDropped = 0;
  readonly #steps: LiveSteps<FrameFeatures>;
  readonly #onFrame: LiveLoopOptions<FrameFeatures>['onFrame'];
  readonly #maxInFlight: number;
  readonly #rate = new FrameRate();
  /** Aborted when the live video ends. Stops the source and the features in flight. */
  readonly #ending = new AbortController();
  /** The newest frame, while all places in flight are taken. */
  #waiting: Numbered | undefined;
  #inFlight = 0;
  /** Number of frames that were lost with the device since the last frame that was computed. */
  #lost = 0;
  #sourceEnded = false;
  #failure: { readonly error: unknown } | undefined;
  /** Resolves when `onFrame` of the frame that began last has ended. Calls of `onFrame` do not overlap. */
  #delivered: Promise<void> = Promise.resolve();
  /** Resolves or rejects `finished`. */
  #settle!: () => void;

  constructor(
    run: RunSource,
    onFrame: LiveLoopOptions<FrameFeatures>['onFrame'],
    maxInFlight: number,
    signal: AbortSignal | undefined,
    steps: LiveSteps<FrameFeatures>,
  ) {
    this.#steps = steps;
    this.#onFrame = onFrame;
    this.#maxInFlight = maxInFlight;
    const abort = (): void => {
      this.finished.catch(() => undefined); // the caller knows of the abort
      this.#end({ error: signal?.reason });
    };
    this.finished = new Promise((resolve, reject) => {
      this.#settle = () => {
        signal?.removeEventListener('abort', abort);
        if (this.#failure) reject(this.#failure.error as Error);
        else resolve();
      };
    });
    signal?.addEventListener('abort', abort, { once: true });
    void run((frame) => this.#take(frame), this.#ending.signal)
      .catch((error: unknown) => this.#end({ error }))
      .then(() => {
        this.#sourceEnded = true;
        this.#settleIfOver();
      });
  }

  get fps(): number {
    return this.#rate.perSecond();
  }

  stop(): void {
    this.#end();
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  get #ended(): boolean {
    return this.#ending.signal.aborted;
  }

  /** Receives a frame of the source. */
  #take(frame: LiveImage): void {
    if (this.#ended) return close(frame);
    const taken = { frame, index: this.framesIn++, timestampMs: timestampOf(frame) };
    this.#dropWaiting();
    if (this.#inFlight < this.#maxInFlight) void this.#compute(taken);
    else this.#waiting = taken;
  }

  /** Computes and delivers the features of a frame, and then waits for the GPU. Never rejects. */
  async #compute({ frame, ...info }: Numbered): Promise<void> {
    this.#inFlight += 1;
    const { signal } = this.#ending;
    const before = this.#delivered;
    let delivered!: () => void;
    this.#delivered = new Promise((resolve) => (delivered = resolve));
    let features: FrameFeatures | undefined;
    let kept = false;
    try {
      try {
        features = await this.#steps.features(frame, signal);
        await before;
        if (this.#ended) return;
        await this.#onFrame(features, { frame, ...info, keep: () => void (kept = true) });
        this.#rate.count();
      } finally {
        close(frame);
        delivered();
      }
      // Features and pictures are only submitted. Without this wait, submitted work would pile up.
      if (!this.#ended) await this.#steps.computed(signal);
      this.#lost = 0;
    } catch (error) {
      const isLoss = error instanceof DeviceError && error.code === 'DEVICE_LOST';
      if (isLoss && ++this.#lost <= MOST_LOST) this.framesDropped += 1;
      else this.#end({ error });
    } finally {
      if (!kept) features?.dispose();
      this.#inFlight -= 1;
      const next = this.#waiting;
      this.#waiting = undefined;
      if (next) void this.#compute(next);
      this.#settleIfOver();
    }
  }

  #end(failure?: { readonly error: unknown }): void {
    if (this.#ended) return;
    this.#failure = failure;
    this.#dropWaiting();
    this.#ending.abort();
    this.#settleIfOver();
  }

  #dropWaiting(): void {
    if (!this.#waiting) return;
    close(this.#waiting.frame);
    this.#waiting = undefined;
    this.framesDropped += 1;
  }

  #settleIfOver(): void {
    if (this.#inFlight === 0 && (this.#ended || this.#sourceEnded)) this.#settle();
  }
}

/** Measures how many frames per second were delivered in the last two seconds. */
class FrameRate {
  readonly #timesMs: number[] = [];
  #firstMs: number | undefined;

  count(): void {
    const nowMs = performance.now();
    if (this.#firstMs === undefined)
      this.#firstMs = nowMs; // the measurement starts with the first frame
    else this.#timesMs.push(nowMs);
  }

  perSecond(): number {
    const nowMs = performance.now();
    while (this.#timesMs[0]! <= nowMs - RATE_MS) this.#timesMs.shift();
    const spanMs = Math.min(RATE_MS, nowMs - (this.#firstMs ?? nowMs));
    return spanMs > 0 ? (this.#timesMs.length * 1000) / spanMs : 0;
  }
}

/** Returns the time of a frame in ms, or 0 if the source delivered something else. */
function timestampOf(frame: LiveImage): number {
  const { timestamp, currentTime = 0 } = Object(frame) as Partial<
    Pick<VideoFrame, 'timestamp'> & Pick<HTMLVideoElement, 'currentTime'>
  >;
  return timestamp === undefined ? currentTime * 1000 : timestamp / 1000;
}

/** Closes a frame. A <video> belongs to the caller, and has no `close`. */
const close = (frame: LiveImage): void => (Object(frame) as Partial<VideoFrame>).close?.();
