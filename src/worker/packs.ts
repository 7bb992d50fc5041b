/** Sends a call, with its arguments converted into values that a message can carry. */
import { OptionError } from '../errors.js';
import type { Tuning } from '../gpu/measure/tuner.js';
import type { TuningStore } from '../gpu/measure/tuningStore.js';
import type { ImageSource } from '../image/source.js';
import { expectOptions, isBatch } from '../optionObject.js';
import type { Call, WorkerConnection } from './call.js';
import { Handle, type RemoteObject } from './handles.js';
import { copied, sendImage } from './images.js';
import { convert, KIND, type ObjectKind, type SentIterator, type SentResponse } from './protocol.js';

/** Converts an argument of a method into the value that is sent to the worker. */
export type Pack = (value: never, call: Call) => unknown;

/**
 * Sends a call to the worker. Unless an image must be prepared first, the message is sent before this
 * function returns, because the caller may dispose of the target right after the call.
 * @param target a handle, or a stand-in (see protocol.ts) for a class, a PCA or a segmenter
 */
export async function send(
  call: Call,
  target: object,
  method: string,
  packs: readonly Pack[] = [],
  args: readonly unknown[] = [],
): Promise<unknown> {
  const sent: unknown[] = [];
  // The last argument is converted first: it is the options, which are checked before images are prepared.
  for (const [i, pack] of [...packs.entries()].reverse()) sent[i] = pack(args[i] as never, call);
  const ready = sent.some((each) => each instanceof Promise) ? await Promise.all(sent) : sent;
  return call.connection.call(call, special(target, call), method, ready);
}

/**
 * Converts a value for sending. URLs, streams and handles are replaced, also within arrays and plain objects.
 */
export const value = (given: unknown, call: Call): unknown => convert(given, (each) => special(each, call));

function special(given: object, call: Call): unknown {
  if (given instanceof URL) return given.href;
  // A message carries the whole buffer of an array. If the array is only a part of its buffer, a copy of the
  // part is sent instead.
  if (given instanceof Uint8Array) return given.byteLength < given.buffer.byteLength ? copied(given) : given;
  if (given instanceof ReadableStream && !given.locked)
    return stream(given as ReadableStream<Uint8Array>, call);
  const object = Handle.objectOf(given);
  if (!object) return given;
  call.holding.push(given);
  return { [KIND]: 'handle', of: object.kind, id: object.id };
}

/** Options that the worker does not need and that cannot be sent. Calls may share one options object. */
const NOT_SENT = /^(signal|device|filter|metadata|workerUrl)$/;

/** Converts options for sending. The worker checks the names of the options. */
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
 * Copies an array of pixels for sending, because the caller may overwrite its own array. Values of other
 * types are sent unchanged, and the worker rejects them.
 */
export function pixels(given: Float32Array<ArrayBuffer>, call: Call): unknown {
  if (!(given instanceof Float32Array)) return value(given, call);
  const own = given.slice();
  call.transfer.push(own.buffer);
  return own;
}

/** Converts one handle or several for sending. The handles must belong to the worker that is called. */
export const handles =
  (kind: ObjectKind): Pack =>
  (given: unknown, call) => {
    for (const each of [given].flat()) expectObject(call.where, kind, each, call.connection);
    return value(given, call);
  };

/**
 * Returns the identity of the object that a handle represents.
 * @throws OptionError OPTION_VALUE if `given` is not a handle of this kind, or belongs to a different worker
 */
export function expectObject(
  where: string,
  kind: ObjectKind,
  given: unknown,
  connection?: WorkerConnection,
): RemoteObject {
  const object = Handle.objectOf(given);
  if (object?.kind === kind && (!connection || object.connection === connection)) return object;
  throw new OptionError(
    'OPTION_VALUE',
    `${where}: expected ${kind} of 'dinov2-webgpu/worker', all in one worker, found something else. Import every class from one entry.`,
  );
}

/**
 * Converts a stream for sending. The page reads the stream, piece by piece, when the worker requests it. The
 * stream is not locked before the first request.
 */
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
      const own = copied(piece); // the caller may own the piece, which a transfer would detach
      return { value: own, transfer: [own.buffer] };
    }),
    stop: call.expose(async () => {
      await (async () => reader().cancel())().catch(() => undefined); // fails if the caller is reading it
    }),
  };
}

function lendFetch(given: typeof fetch, call: Call): object {
  const run = call.expose(async (signal, url: string, init: RequestInit) => {
    const response = await given(url, { ...init, signal });
    const { status, statusText, url: found, type, body } = response;
    // After an abort, the worker does not read the response.
    if (signal.aborted) return void body?.cancel().catch(() => undefined);
    const headers = [...response.headers];
    const sent = body && stream(body, call, body.getReader());
    return { value: { status, statusText, headers, url: found, type, body: sent } satisfies SentResponse };
  });
  return { [KIND]: 'fetch', run };
}

/**
 * Converts a function for sending. The page runs the function when the worker requests it.
 * @param oneWay true if the worker does not wait for the result
 */
function lend(given: AnyFunction, call: Call, oneWay = false): object {
  const run = call.expose(async (_, ...args) => {
    const result = given(...args);
    return oneWay ? undefined : { value: await result };
  });
  return { [KIND]: 'function', run, oneWay };
}

type AnyFunction = (...args: never[]) => unknown;
