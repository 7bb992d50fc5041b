/** The messages between a page and its worker, and the stand-ins in them for values that cannot be cloned. */
import type { PcaJSON } from '../tasks/pcaBasis.js';

/**
 * Raise with every change of the messages: a page and a worker of different versions then refuse each other.
 */
export const PROTOCOL = 6;

/** The key that marks an object as a stand-in. The value under the key is the kind of the stand-in. */
export const KIND = 'dinov2-webgpu';

/** Classes whose objects stay in the worker. */
export type ObjectKind = 'DINOv2' | 'Features' | 'ImageClassifier';

/** An error of the page, described for the worker. */
export interface PageErrorData {
  /** Index in the call's list of errors, where the page keeps the error itself. */
  readonly index: number;
  readonly name: string;
  readonly message: string;
}

/** An error of the worker, described for the page. */
export interface SentError {
  readonly [KIND]: 'error';
  /** Name of the class to construct. */
  readonly of: string;
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly code: string | undefined;
  readonly status: number | undefined;
  /** Another stand-in, or a value that was thrown. */
  readonly cause: unknown;
}

/** An image on its way to the worker. */
export interface SentImage {
  readonly [KIND]: 'image';
  /**
   * The pixels, file or URL. A bitmap or frame was made for the call: the worker closes it after the call.
   */
  readonly image?: unknown;
  /** If the image cannot be sent: its class. */
  readonly name?: string;
  readonly url?: string | undefined;
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  readonly error?: PageErrorData;
  /** The step that failed. `load`: the file of an <img>. `origin`: the page may not read the pixels. */
  readonly failed?: 'load' | 'decode' | 'origin' | undefined;
}

/** A stream or iterable that the page reads on request. `next` and `stop` number functions of the call. */
export interface SentIterator {
  readonly [KIND]: 'stream' | 'iterable';
  readonly next: number;
  readonly stop: number;
}

/** Stand-ins in the arguments of a call and in the page's answers. `run` numbers a function of the call. */
export type SentValue =
  | { readonly [KIND]: 'handle'; readonly of: ObjectKind; readonly id: number }
  /** A class of the library, for its static methods; or `functions`, for functions without a class. */
  | { readonly [KIND]: 'class'; readonly name: string }
  | { readonly [KIND]: 'PCA'; readonly json: PcaJSON }
  /** Options without their signal: the worker adds the signal of the call. */
  | { readonly [KIND]: 'options'; readonly options: object }
  /** `oneWay`: the worker does not wait for the result. An error of the function ends the call. */
  | { readonly [KIND]: 'function'; readonly run: number; readonly oneWay: boolean }
  | { readonly [KIND]: 'fetch'; readonly run: number }
  | SentIterator
  | SentImage;

/** Stand-ins in results and errors of a call. */
export type SentResult =
  | { readonly [KIND]: ObjectKind; readonly id: number; readonly state: object }
  | { readonly [KIND]: 'PCA' | 'Profile'; readonly state: object; readonly text: string }
  /** An error of the page that comes back, by its index in the call's list. */
  | { readonly [KIND]: 'thrown'; readonly index: number }
  | SentError;

/** A `Response` of the page's `fetch`. */
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
  /** A stand-in for an object, a class or a PCA. */
  readonly target: unknown;
  /** Name of a method or getter of the target. */
  readonly method: string;
  readonly args: readonly unknown[];
  /** The page's base URL, for relative URLs in the arguments. */
  readonly base: string | undefined;
}

/**
 * Messages from the page. `id` is the number of a call, of an object (`dispose`) or of an `ask` (`answer`,
 * `refusal`).
 */
export type ToWorker =
  | CallMessage
  /** `error`: the reason of the caller's signal, or the error of a one-way function. */
  | Readonly<{ kind: 'abort'; id: number; error: PageErrorData }>
  | Readonly<{ kind: 'dispose'; id: number }>
  | Readonly<{ kind: 'answer'; id: number; value: unknown }>
  | Readonly<{ kind: 'refusal'; id: number; error: PageErrorData }>
  /**
   * The reply to `unread`. Messages keep their order: the worker has received every readable message that was
   * sent before this one, namely calls up to `lastCall`, and answers to all asks up to `lastAsk` that are not
   * in `asks`.
   */
  | Readonly<{ kind: 'check'; lastCall: number; lastAsk: number; asks: readonly number[] }>;

/** Messages from the worker. */
export type FromWorker =
  /** The first message. `lock`: name of a lock that the worker holds for its whole life. */
  | Readonly<{ kind: 'ready'; protocol: number; lock: string | undefined }>
  | Readonly<{ kind: 'result' | 'failure'; id: number; value: unknown }>
  /** Runs a function of the page. `id` 0: one-way. */
  | Readonly<{ kind: 'ask'; id: number; call: number; run: number; args: readonly unknown[] }>
  /** The worker no longer needs the answer to an `ask`. */
  | Readonly<{ kind: 'drop'; id: number }>
  /** A message of the page could not be deserialized. */
  | Readonly<{ kind: 'unread' }>
  /** The reply to `check`: the calls that are running. */
  | Readonly<{ kind: 'known'; lastCall: number; calls: readonly number[] }>;

/**
 * Copies a value and replaces objects in it. Arrays and plain objects are searched; all else is kept.
 * @param change returns the replacement, or the object itself
 */
export function convert(value: unknown, change: (value: object) => unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const changed = change(value);
  if (changed !== value) return changed;
  if (Array.isArray(value)) return value.map((each: unknown) => convert(each, change));
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, convert(each, change)]));
}

/** The text of any thrown value. */
export function textOf(value: unknown): string {
  try {
    return String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}
