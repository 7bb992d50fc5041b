/**
 * The messages between a page and its worker. A value that a message cannot carry is replaced by a stand-in:
 * a plain object from which the receiver restores the value.
 */
import type { PcaJSON } from '../tasks/pcaBasis.js';
import type { SegmenterJSON } from '../tasks/segmenterModel.js';

/**
 * Version of the message format. Increase it with every change of the format, so that a page and a worker of
 * different versions reject each other.
 */
export const PROTOCOL = 7;

/** The key that marks an object as a stand-in. The value under this key is the kind of stand-in. */
export const KIND = 'dinov2-webgpu';

/** Classes whose objects stay in the worker. */
export type ObjectKind = 'DINOv2' | 'Features' | 'ImageClassifier' | 'GpuPatchMap' | 'PatchTracker';

/** An error thrown in the page, described for the worker. */
export interface PageErrorData {
  /** Index in the call's list of errors, in which the page keeps the original error. */
  readonly index: number;
  readonly name: string;
  readonly message: string;
}

/** An error thrown in the worker, described for the page. */
export interface SentError {
  readonly [KIND]: 'error';
  /** Name of the error class that the page constructs. */
  readonly of: string;
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly code: string | undefined;
  readonly status: number | undefined;
  /** The cause of the error: a stand-in for a further error, or a value that was thrown. */
  readonly cause: unknown;
}

/** An image that the page sends to the worker. */
export interface SentImage {
  readonly [KIND]: 'image';
  /**
   * The pixels, file or URL. A bitmap or frame was made for this call, so the worker closes it after the
   * call.
   */
  readonly image?: unknown;
  /** Name of the class of an image that cannot be sent. */
  readonly name?: string;
  readonly url?: string | undefined;
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  readonly error?: PageErrorData;
  /**
   * The step that failed in the page. `load`: loading the file of the <img>. `decode`: decoding that file.
   * `origin`: the page may not read the pixels.
   */
  readonly failed?: 'load' | 'decode' | 'origin' | undefined;
}

/**
 * A stream or iterable that the page reads on request, piece by piece. `next` and `stop` are the numbers of
 * two functions of the page: one reads the next piece, the other ends the reading.
 */
export interface SentIterator {
  readonly [KIND]: 'stream' | 'iterable';
  readonly next: number;
  readonly stop: number;
}

/**
 * Stand-ins in the arguments of a call and in the page's answers. `run` is the number of a function that the
 * page registered for the call.
 */
export type SentValue =
  | { readonly [KIND]: 'handle'; readonly of: ObjectKind; readonly id: number }
  /** A class of the library, for its static methods; or `functions`, for functions without a class. */
  | { readonly [KIND]: 'class'; readonly name: string }
  | { readonly [KIND]: 'PCA'; readonly json: PcaJSON }
  | { readonly [KIND]: 'PatchSegmenter'; readonly json: SegmenterJSON }
  /** The options of a call, without the option `signal`. The worker adds the signal of the call. */
  | { readonly [KIND]: 'options'; readonly options: object }
  /**
   * A function of the page. `oneWay`: the worker does not wait for the result, and an error thrown by the
   * function ends the call.
   */
  | { readonly [KIND]: 'function'; readonly run: number; readonly oneWay: boolean }
  | { readonly [KIND]: 'fetch'; readonly run: number }
  /**
   * A canvas that the page handed over to the worker. The first message has the canvas; later messages have
   * only its number.
   */
  | { readonly [KIND]: 'canvas'; readonly id: number; readonly canvas?: OffscreenCanvas | undefined }
  | SentIterator
  | SentImage;

/** Stand-ins in results and errors of a call. */
export type SentResult =
  | { readonly [KIND]: ObjectKind; readonly id: number; readonly state: object }
  | {
      readonly [KIND]: 'PCA' | 'Profile' | 'PatchMap' | 'PatchSegmenter';
      readonly state: object;
      readonly text: string;
    }
  /** An error of the page that the worker sends back, by its index in the call's list of errors. */
  | { readonly [KIND]: 'thrown'; readonly index: number }
  | SentError;

/** A `Response` that the page's `fetch` returned. */
export interface SentResponse {
  readonly status: number;
  readonly statusText: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly url: string;
  readonly type: string;
  readonly body: SentIterator | null;
}

export interface CallMessage {
  readonly kind: 'call';
  readonly id: number;
  /** The object, class, PCA or segmenter whose method is called, as a stand-in. */
  readonly target: unknown;
  /** Name of the method or getter of the target that is called. */
  readonly method: string;
  readonly args: readonly unknown[];
  /** The page's base URL, for relative URLs in the arguments. */
  readonly base: string | undefined;
}

/**
 * Messages from the page. `id` is the number of a call, of an object (for `dispose`), or of an `ask` (for
 * `answer` and `refusal`).
 */
export type ToWorker =
  | CallMessage
  /** Ends a call. `error` is the reason of the caller's signal, or the error of a one-way function. */
  | Readonly<{ kind: 'abort'; id: number; error: PageErrorData }>
  | Readonly<{ kind: 'dispose'; id: number }>
  | Readonly<{ kind: 'answer'; id: number; value: unknown }>
  | Readonly<{ kind: 'refusal'; id: number; error: PageErrorData }>
  /**
   * The page's reply to the worker's message `unread`. Messages keep their order, so the worker has
   * received every readable message that was sent before this reply: the calls up to `lastCall`, and the
   * answers to all requests (`ask`) up to `lastAsk`, except the requests in `asks`.
   */
  | Readonly<{ kind: 'check'; lastCall: number; lastAsk: number; asks: readonly number[] }>;

/** Messages from the worker to the page. */
export type FromWorker =
  /** The first message. `lock` is the name of a lock that the worker holds until it ends. */
  | Readonly<{ kind: 'ready'; protocol: number; lock: string | undefined }>
  | Readonly<{ kind: 'result' | 'failure'; id: number; value: unknown }>
  /** Asks the page to run a function. `id` 0 means one-way: the worker waits for no answer. */
  | Readonly<{ kind: 'ask'; id: number; call: number; run: number; args: readonly unknown[] }>
  /** The worker no longer needs the answer to an `ask`. */
  | Readonly<{ kind: 'drop'; id: number }>
  /** Says that the worker received a message that it could not deserialize. */
  | Readonly<{ kind: 'unread' }>
  /** The reply to `check`: the calls that are running in the worker. */
  | Readonly<{ kind: 'known'; lastCall: number; calls: readonly number[] }>;

/**
 * Copies a value, and replaces objects within it. Arrays and plain objects are searched for such objects;
 * all other values are copied unchanged.
 * @param change returns the replacement of an object, or the object itself
 */
export function convert(value: unknown, change: (value: object) => unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const changed = change(value);
  if (changed !== value) return changed;
  if (Array.isArray(value)) return value.map((each: unknown) => convert(each, change));
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, convert(each, change)]));
}

/** Returns a text for any thrown value. */
export function textOf(value: unknown): string {
  try {
    return String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}
