/**
 * Sends a call to the worker: converts the arguments into messages, and lists the functions of the page that
 * the worker may run during the call.
 */
import { OptionError } from '../errors.js';
import type { Tuning } from '../gpu/measure/tuner.js';
import type { TuningStore } from '../gpu/measure/tuningStore.js';
import type { ImageSource } from '../image/source.js';
import { expectOptions, isBatch } from '../optionObject.js';
import type { Connection } from './connection.js';
import { Handle, type RemoteObject } from './handles.js';
import { copied, sendImage } from './images.js';
import {
  convert,
  KIND,
  textOf,
  type ObjectKind,
  type PageErrorData,
  type SentIterator,
  type SentResponse,
} from './protocol.js';

/** The result of a function of the page, with the objects to transfer along with the result. */
export interface Answer {
  readonly value: unknown;
  readonly transfer?: Transferable[];
}

/**
 * A function of the page that the worker may run. `signal` is aborted when the result is no longer needed.
 */
export type PageFunction = (signal: AbortSignal, ...args: never[]) => Promise<Answer | void>;

/** Converts an argument into the value that is sent for it. */
export type Pack = (value: never, call: Call) => unknown;

export class Call {
  /** The method's name, for messages. */
  readonly where: string;
  readonly connection: Connection;
  signal: AbortSignal | undefined;
  optionNames: readonly string[] = [];
  readonly transfer: Transferable[] = [];
  /** Handles that must not be garbage-collected before the worker has answered. */
  readonly holding: object[] = [];
  readonly functions: PageFunction[] = [];
  /** Errors thrown in the page during the call. The worker has descriptions of them. */
  readonly errors: unknown[] = [];
  /** Functions that run when the call fails, to release objects of the page that the worker used. */
  readonly releases: ((reason: unknown) => void)[] = [];
  /** The error that a one-way function threw. It ends the call, even if the worker has already finished. */
  thrown: { readonly error: unknown } | undefined;
  resolve: (value: unknown) => void = () => undefined;
  reject: (error: unknown) => void = () => undefined;

  constructor(where: string, connection: Connection) {
    this.where = where;
    this.connection = connection;
  }

  /**
   * Sends the call. The call is sent synchronously unless an image must be prepared, because the caller may
   * dispose of the target next.
   * @param target a handle, or a stand-in for a class or a PCA
   */
  async send(
    target: object,
    method: string,
    packs: readonly Pack[] = [],
    args: readonly unknown[] = [],
  ): Promise<unknown> {
    const sent: unknown[] = [];
    // In reverse order, because options come last and are checked before images are prepared.
    for (const [i, pack] of [...packs.entries()].reverse()) sent[i] = pack(args[i] as never, this);
    const ready = sent.some((each) => each instanceof Promise) ? await Promise.all(sent) : sent;
    return this.connection.call(this, special(target, this), method, ready);
  }

  /** Makes a function available to the worker. Returns the number by which the worker runs the function. */
  expose(run: PageFunction): number {
    return this.functions.push(run) - 1;
  }

  /** Stores an error thrown in the page, and describes it for the worker. */
  describe(error: unknown): PageErrorData {
    const { name, message } = error instanceof Error ? error : { name: 'Error', message: error };
    return { index: this.errors.push(error) - 1, name: textOf(name), message: textOf(message) };
  }
}

/**
 * Converts a value for sending. URLs, streams and handles are replaced, also within arrays and plain
 * objects.
 */
export const value = (given: unknown, call: Call): unknown => convert(given, (each) => special(each, call));

function special(given: object, call: Call): unknown {
  if (given instanceof URL) return given.href;
  // A message carries the whole buffer of a view. If a view covers a part of its buffer, only that part is
  // copied and sent.
  if (given instanceof Uint8Array) return given.byteLength < given.buffer.byteLength ? copied(given) : given;
  if (given instanceof ReadableStream && !given.locked)
    return stream(given as ReadableStream<Uint8Array>, call);
  const object = Handle.objectOf(given);
  if (!object) return given;
  call.holding.push(given);
  return { [KIND]: 'handle', of: object.kind, id: object.id };
}

/**
 * Options that the worker does not need and that cannot be sent. They are removed from a copy, because calls
 * may share one options object.
 */
const NOT_SENT = /^(signal|device|filter|metadata)$/;

/** Converts options for sending. The worker checks the option names. */
export function options(given: Readonly<Record<string, unknown>> | undefined, call: Call): unknown {
  expectOptions(call.where, given);
  call.signal = given?.['signal'] as AbortSignal | undefined;
  call.signal?.throwIfAborted();
  call.optionNames = Object.keys(given ?? {});
  const sent = Object.entries(given ?? {}).flatMap(([name, each]) =>
    NOT_SENT.test(name) ? [] : [[name, option(name, each, call)]],
  );
  return { [KIND]: 'options', options: Object.fromEntries(sent) as object };
}

function option(name: string, given: unknown, call: Call): unknown {
  if (name === 'store' && given) {
    const store = given as TuningStore;
    const get = lend((key: string) => store.get(key), call);
    return { get, set: lend((key: string, tuning: Tuning) => store.set(key, tuning), call) };
  }
  if (typeof given !== 'function') return value(given, call);
  if (name === 'fetch') return lendFetch(given as typeof fetch, call);
  return name === 'onProgress' ? lend(given as AnyFunction, call, true) : given;
}

/** Converts the files of a model or classifier for sending. */
export function files(given: object, call: Call): object {
  expectOptions(call.where, given ?? null);
  return value({ ...given }, call) as object;
}

/** Converts one image or several for sending. */
export const images = (given: ImageSource | readonly ImageSource[], call: Call): Promise<unknown> =>
  isBatch(given)
    ? Promise.all(given.map((each) => sendImage(each, call, call.transfer)))
    : sendImage(given, call, call.transfer);

/**
 * Sends a copy of pixels, because the caller may reuse its array. The worker rejects arrays of other types.
 */
export function pixels(given: Float32Array<ArrayBuffer>, call: Call): unknown {
  if (!(given instanceof Float32Array)) return value(given, call);
  const own = given.slice();
  call.transfer.push(own.buffer);
  return own;
}

/** Converts one handle or several for sending. They must belong to the worker that is called. */
export const handles =
  (kind: ObjectKind): Pack =>
  (given: unknown, call) => {
    for (const each of [given].flat()) expectObject(call.where, kind, each, call.connection);
    return value(given, call);
  };

/** @throws OptionError OPTION_VALUE unless `given` is a handle of this kind for an object in this worker */
export function expectObject(
  where: string,
  kind: ObjectKind,
  given: unknown,
  connection?: Connection,
): RemoteObject {
  const object = Handle.objectOf(given);
  if (object?.kind === kind && (!connection || object.connection === connection)) return object;
  throw new OptionError(
    'OPTION_VALUE',
    `${where}: expected ${kind} of 'dinov2-webgpu/worker', all from one worker, found a different object. Import every class from 'dinov2-webgpu/worker'.`,
  );
}

/** Lends a stream to the worker. The stream is not locked before the worker reads it. */
function stream(
  source: ReadableStream<Uint8Array>,
  call: Call,
  opened?: ReadableStreamDefaultReader<Uint8Array>,
): SentIterator {
  const reader = (): typeof opened & object => (opened ??= source.getReader());
  call.releases.push((reason) => void opened?.cancel(reason).catch(() => undefined));
  return {
    [KIND]: 'stream',
    next: call.expose(async () => {
      const { value: piece } = await reader().read();
      if (!piece) return undefined;
      const own = copied(piece); // the caller may own the piece, and a transfer would detach it
      return { value: own, transfer: [own.buffer] };
    }),
    stop: call.expose(async () => {
      await (async () => reader().cancel())().catch(() => undefined); // fails if the caller has begun to read the stream
    }),
  };
}

function lendFetch(given: typeof fetch, call: Call): object {
  const run = call.expose(async (signal, url: string, init: RequestInit) => {
    const response = await given(url, { ...init, signal });
    const { status, statusText, url: found, type, body } = response;
    if (signal.aborted) return void body?.cancel().catch(() => undefined); // the worker will not read the body
    const headers = [...response.headers];
    const sent = body && stream(body, call, body.getReader());
    return { value: { status, statusText, headers, url: found, type, body: sent } satisfies SentResponse };
  });
  return { [KIND]: 'fetch', run };
}

/** @param oneWay whether the worker runs the function without waiting for its result */
function lend(given: AnyFunction, call: Call, oneWay = false): object {
  const run = call.expose(async (_, ...args) => {
    const result = given(...args);
    return oneWay ? undefined : { value: await result };
  });
  return { [KIND]: 'function', run, oneWay };
}

type AnyFunction = (...args: never[]) => unknown;
