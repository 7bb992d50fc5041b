/** The messages between a page and its worker. */
import type { PcaJSON } from '../tasks/pcaBasis.js';

/** Raised with every change of the messages, so that a page and a worker of two versions refuse each other. */
export const PROTOCOL = 5;

/**
 * The key that marks an object as a stand-in for a value that cannot be cloned, or not with its class. The
 * value under it says what the object stands for.
 */
export const KIND = 'dinov2-webgpu';

/** Classes whose objects stay in the worker. */
export type ObjectKind = 'DINOv2' | 'Features' | 'ImageClassifier';

/** An error of the page, on its way to the worker. */
export interface PageErrorData {
  /** In the call's list of errors, where the page keeps the error itself. */
  readonly index: number;
  readonly name: string;
  readonly message: string;
}

/** An error on its way to the page. */
export type SentError =
  /** The reason of the caller's signal. */
  | { readonly from: 'abort' }
  /** An error of the page, by its index in the call's list. */
  | { readonly from: 'page'; readonly index: number }
  | { readonly from: 'value'; readonly value: unknown }
  | {
      readonly from: 'worker';
      /** Name of the class to make it of. */
      readonly kind: string;
      readonly name: string;
      readonly code: string | undefined;
      readonly status: number | undefined;
      readonly message: string;
      readonly stack: string | undefined;
      readonly cause: SentError | undefined;
    };

/** An image on its way to the worker. */
export interface SentImage {
  readonly [KIND]: 'image';
  /** What the library can use, or refuses itself. Bitmaps and frames were made for the call: they are closed after it. */
  readonly image?: unknown;
  /** Of one that cannot be used: its class. */
  readonly name?: string;
  readonly url?: string | undefined;
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  /** Why it cannot be used. */
  readonly error?: PageErrorData;
  /** Which step has failed. `load`: the file of an <img> did not arrive. `origin`: the page may not read the pixels. */
  readonly failed?: 'load' | 'decode' | 'origin' | undefined;
}

/** A stream that the page reads when it is asked to. */
export interface SentStream {
  readonly [KIND]: 'stream';
  readonly read: number;
  readonly stop: number;
}

/**
 * Stand-ins in the arguments of a call, and in the page's answers. Functions are numbers: the position in the
 * call's list of functions.
 */
export type SentValue =
  | { readonly [KIND]: 'handle'; readonly of: ObjectKind; readonly id: number }
  /** A class of the library, for its static methods; or `functions`, for what belongs to no class. */
  | { readonly [KIND]: 'class'; readonly name: string }
  | { readonly [KIND]: 'PCA'; readonly json: PcaJSON }
  /** Options of the call, without its signal. */
  | { readonly [KIND]: 'options'; readonly options: object }
  /** `told`: nobody waits for its result, and what it throws ends the call. */
  | { readonly [KIND]: 'function'; readonly run: number; readonly told: boolean }
  | { readonly [KIND]: 'fetch'; readonly run: number }
  | SentStream
  | { readonly [KIND]: 'iterable'; readonly next: number; readonly leave: number }
  | SentImage;

/** Stand-ins in the result of a call. */
export type SentResult =
  | { readonly [KIND]: ObjectKind; readonly id: number; readonly state: object }
  | { readonly [KIND]: 'PCA' | 'Profile'; readonly state: object; readonly text: string }
  | { readonly [KIND]: 'error'; readonly error: SentError };

/** What the page's `fetch` has given. */
export interface SentResponse {
  readonly status: number;
  readonly statusText: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly url: string;
  readonly type: string;
  readonly body: SentStream | null;
}

export interface CallMessage {
  readonly kind: 'call';
  readonly id: number;
  /** A stand-in: of an object, a class, or a PCA. */
  readonly target: unknown;
  /** The name of a method or getter of the target. */
  readonly method: string;
  readonly args: readonly unknown[];
  /** What relative URLs are resolved against. */
  readonly base: string | undefined;
}

/** From the page. */
export type ToWorker =
  | CallMessage
  /** `error`: an error of the page that is the reason; without it the caller's signal was aborted. */
  | { readonly kind: 'abort'; readonly id: number; readonly error?: PageErrorData }
  | { readonly kind: 'dispose'; readonly id: number }
  /** Of an `ask`. */
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'refusal'; readonly id: number; readonly error: PageErrorData }
  /**
   * The answer to `unread`. Messages keep their order, so the worker has everything by now that was sent before
   * and could be read: calls up to `lastCall`, and answers to all asks up to `lastAsk` that are not in `asks`.
   */
  | {
      readonly kind: 'check';
      readonly lastCall: number;
      readonly lastAsk: number;
      readonly asks: readonly number[];
    };

/** From the worker. */
export type FromWorker =
  /** The first message. `lock`: the name of a lock that the worker holds as long as it lives. */
  | { readonly kind: 'ready'; readonly protocol: number; readonly lock: string | undefined }
  | { readonly kind: 'result'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'failure'; readonly id: number; readonly error: SentError }
  /** Runs a function of the page. `id` 0: without an answer. */
  | {
      readonly kind: 'ask';
      readonly id: number;
      readonly call: number;
      readonly run: number;
      readonly args: readonly unknown[];
    }
  /** The worker needs the answer to an `ask` no more. */
  | { readonly kind: 'drop'; readonly id: number }
  /** A message of the page could not be read. */
  | { readonly kind: 'unread' }
  /** The answer to `check`: the calls that the worker is working on. */
  | { readonly kind: 'known'; readonly lastCall: number; readonly calls: readonly number[] };

/**
 * A copy in which stand-ins have taken the place of special values, or the reverse: arrays and plain objects are
 * walked through, and everything else is left as it is.
 * @param change gives what is to stand there, or the object itself
 */
export function convert(value: unknown, change: (value: object) => unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const changed = change(value);
  if (changed !== value) return changed;
  if (Array.isArray(value)) return value.map((each: unknown) => convert(each, change));
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, convert(each, change)]));
}
