/** One call of the page: how its arguments travel, and what of the page the worker may use meanwhile. */
import { OptionError } from '../errors.js';
import type { ImageSource } from '../image/source.js';
import { expectOptions } from '../optionObject.js';
import type { Tuning } from '../gpu/measure/tuner.js';
import type { TuningStore } from '../gpu/measure/tuningStore.js';
import type { Connection } from './connection.js';
import { Handle, type Place } from './handles.js';
import { copied, sendImage } from './images.js';
import {
  convert,
  KIND,
  type ObjectKind,
  type PageErrorData,
  type SentResponse,
  type SentStream,
} from './protocol.js';

/** The answer of a function of the page, and what goes along without a copy. */
export interface Handed {
  readonly value: unknown;
  readonly transfer?: Transferable[];
}

/** Runs in the page when the worker asks. `signal` is aborted when the answer is not needed any more. */
export type PageFunction = (signal: AbortSignal, ...args: never[]) => Promise<Handed | void>;

export class Call {
  /** For messages, such as `PCA.fit`. */
  readonly where: string;
  readonly connection: Connection;
  signal: AbortSignal | undefined;
  optionNames: readonly string[] = [];
  readonly transfer: Transferable[] = [];
  /** Objects that the worker uses, which must not be collected before it has answered. */
  readonly holding: object[] = [];
  readonly functions: PageFunction[] = [];
  /** Errors of the page that the worker was told of. */
  readonly errors: unknown[] = [];
  /** Lets go what the worker had of the page: run where the call fails. */
  readonly releases: ((reason: unknown) => void)[] = [];
  /** What ended the call in the page, when the worker may have finished already. */
  thrown: { readonly error: unknown } | undefined;
  resolve: (value: unknown) => void = () => undefined;
  reject: (error: unknown) => void = () => undefined;

  constructor(where: string, connection: Connection) {
    this.where = where;
    this.connection = connection;
  }

  /**
   * Sends the call at once, in turn, unless an image is to be made ready: what is disposed of after a call is
   * there for it.
   * @param target a handle, or what stands for a class or a PCA
   */
  async send(
    target: object,
    method: string,
    packs: readonly Pack[] = [],
    args: readonly unknown[] = [],
  ): Promise<unknown> {
    const sent: unknown[] = [];
    // Options, which are last, are checked before images are made ready.
    for (const [i, pack] of [...packs.entries()].reverse()) sent[i] = pack(args[i] as never, this);
    const ready = sent.some((each) => each instanceof Promise) ? await Promise.all(sent) : sent;
    return this.connection.call(this, special(target, this), method, ready);
  }

  /** The number under which the worker asks for the function. */
  expose(run: PageFunction): number {
    return this.functions.push(run) - 1;
  }

  /** Keeps an error of the page, and gives what the worker is told of it. */
  describe(error: unknown): PageErrorData {
    const { name, message } = error instanceof Error ? error : { name: 'Error', message: error };
    return { index: this.errors.push(error) - 1, name: textOf(name), message: textOf(message) };
  }
}

/** How an argument travels: what stands for it in the message. */
export type Pack = (value: never, call: Call) => unknown;

/** As it is; URLs as text, streams as something that the page reads, handles as the object in the worker. */
export const value = (given: unknown, call: Call): unknown => convert(given, (each) => special(each, call));

function special(given: object, call: Call): unknown {
  if (given instanceof URL) return given.href;
  // A message takes all of the memory that an array is a part of: of a small part, the part alone is sent.
  if (given instanceof Uint8Array) return given.byteLength < given.buffer.byteLength ? copied(given) : given;
  if (given instanceof ReadableStream && !given.locked)
    return stream(given as ReadableStream<Uint8Array>, call);
  const place = Handle.placeOf(given);
  if (!place) return given;
  call.holding.push(given);
  return { [KIND]: 'handle', of: place.kind, id: place.id };
}

/** Options of the call. Signals and functions stay here; the worker checks the names. */
export function options(given: Readonly<Record<string, unknown>> | undefined, call: Call): unknown {
  expectOptions(call.where, given);
  call.signal = given?.['signal'] as AbortSignal | undefined;
  call.signal?.throwIfAborted();
  const entries = Object.entries(given ?? {});
  call.optionNames = entries.map(([name]) => name);
  const sent = entries.flatMap(([name, each]) => {
    if (STAYS.test(name)) return [];
    if (name === 'store' && each) {
      const store = each as TuningStore;
      const get = lend((key: string) => store.get(key), call);
      const set = lend((key: string, tuning: Tuning) => store.set(key, tuning), call);
      return [[name, { get, set }]];
    }
    if (typeof each !== 'function') return [[name, value(each, call)]];
    if (name === 'fetch') return [[name, fetcher(each as typeof fetch, call)]];
    return [[name, name === 'onProgress' ? lend(each as AnyFunction, call, true) : each]];
  });
  return { [KIND]: 'options', options: Object.fromEntries(sent) as object };
}

/** What the worker has no use for and cannot be sent, whichever call it is for. */
const STAYS = /^(signal|device|filter|metadata)$/;

/** Files of a model or classifier. */
export function files(given: object, call: Call): object {
  expectOptions(call.where, given ?? null);
  return value({ ...given }, call) as object;
}

/** One image or several. */
export const images = (given: ImageSource | readonly ImageSource[], call: Call): Promise<unknown> =>
  Array.isArray(given)
    ? Promise.all(given.map((each: ImageSource) => sendImage(each, call, call.transfer)))
    : sendImage(given as ImageSource, call, call.transfer);

/** A copy: the caller may refill its array. Anything else is refused in the worker. */
export function pixels(given: Float32Array<ArrayBuffer>, call: Call): unknown {
  if (!(given instanceof Float32Array)) return value(given, call);
  const own = given.slice();
  call.transfer.push(own.buffer);
  return own;
}

/** One handle or several, of objects in the worker that is called. */
export const handles =
  (kind: ObjectKind): Pack =>
  (given: unknown, call) => {
    for (const each of [given].flat()) expectPlace(call.where, kind, each, call.connection);
    return value(given, call);
  };

/** @throws OptionError OPTION_VALUE for what is no handle of this kind, or of an object in another worker */
export function expectPlace(where: string, kind: ObjectKind, given: unknown, connection?: Connection): Place {
  const place = Handle.placeOf(given);
  if (place?.kind === kind && (!connection || place.connection === connection)) return place;
  throw new OptionError(
    'OPTION_VALUE',
    `${where}: expected ${kind} of 'dinov2-webgpu/worker', all in one worker, found something else. Import every class from one entry.`,
  );
}

/** A source that nobody begins to read stays the caller's, as it was. */
function stream(
  source: ReadableStream<Uint8Array>,
  call: Call,
  opened?: ReadableStreamDefaultReader<Uint8Array>,
): SentStream {
  call.releases.push((reason) => void opened?.cancel(reason).catch(() => undefined));
  return {
    [KIND]: 'stream',
    read: call.expose(async () => {
      const { value: piece } = await (opened ??= source.getReader()).read();
      if (!piece) return undefined;
      const own = copied(piece); // what is sent is gone here, and may be the caller's
      return { value: own, transfer: [own.buffer] };
    }),
    stop: call.expose(async () => {
      // Nobody reads it any more; or somebody else does, which fails here.
      await (async () => (opened ??= source.getReader()).cancel())().catch(() => undefined);
    }),
  };
}

function fetcher(given: typeof fetch, call: Call): object {
  const run = call.expose(async (signal, url: string, init: RequestInit) => {
    const response = await given(url, { ...init, signal });
    const { status, statusText, url: found, type, body } = response;
    if (signal.aborted) return void body?.cancel().catch(() => undefined); // nobody will read it
    const sent: SentResponse = {
      status,
      statusText,
      headers: [...response.headers],
      url: found,
      type,
      body: body && stream(body, call, body.getReader()),
    };
    return { value: sent };
  });
  return { [KIND]: 'fetch', run };
}

/** @param told nobody waits for what it gives */
function lend(given: AnyFunction, call: Call, told = false): object {
  const run = call.expose(async (_, ...args) => {
    const result = given(...args);
    return told ? undefined : { value: await result };
  });
  return { [KIND]: 'function', run, told };
}

type AnyFunction = (...args: never[]) => unknown;

/** Words for whatever somebody threw: not everything can be made a text. */
function textOf(given: unknown): string {
  try {
    return String(given);
  } catch {
    return Object.prototype.toString.call(given);
  }
}
