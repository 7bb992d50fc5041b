/** Makes classes whose methods run in the worker, and restores the worker's results in the page. */
import {
  CheckpointError,
  ConfigError,
  DeviceError,
  DINOv2Error,
  ImageError,
  OptionError,
  SafetensorsError,
  SourceError,
} from '../errors.js';
import { Call } from './call.js';
import { Handle, type RemoteObject } from './handles.js';
import { send, type Pack } from './packs.js';
import { convert, KIND, type SentError, type SentResult } from './protocol.js';

type Method = (...args: never[]) => unknown;

/**
 * The conversion of each argument of each method. The type demands an entry for every method of `Api`, so
 * that a new method cannot be forgotten.
 */
export type Methods<Api> = {
  readonly [
    Name in Exclude<keyof Api, 'dispose' | symbol> as Api[Name] extends Method ? Name : never
  ]: readonly Pack[];
};

/**
 * The type of a public class, which supports `instanceof` but not `new`: only the library constructs
 * objects.
 */
export type PublicClass<Api> = abstract new (...args: never) => Api;

/** A class whose objects have the properties and methods of `Api`. */
export type RemoteClass<Api> = new (state: object, object: RemoteObject) => Handle & Api;

/** Makes a class whose methods call the methods of the same names in the worker. */
export function remote<Api>(Base: typeof Handle, methods: Methods<Api>): RemoteClass<Api> {
  class Remote extends Base {}
  for (const [name, packs] of Object.entries<readonly Pack[]>(methods)) {
    const method = function (this: Handle, ...args: unknown[]): Promise<unknown> {
      return ask(this, name, packs, args);
    };
    Object.defineProperty(Remote.prototype, name, { value: method, writable: true, configurable: true });
  }
  const made: unknown = Remote;
  return made as RemoteClass<Api>;
}

/** Calls a method, or reads a getter, of the object that a handle represents. */
export function ask(
  handle: Handle,
  method: string,
  packs?: readonly Pack[],
  args?: readonly unknown[],
): Promise<unknown> {
  return send(new Call(method, Handle.objectOf(handle)!.connection), handle, method, packs, args);
}

/** Returns the target for a call of a static method, or of one of the worker's `functions`. */
export const classOf = (name: string): object => ({ [KIND]: 'class', name });

/**
 * The page's classes by name. Their constructors take two arguments: the copied properties of the worker's
 * object, and the identity of this object (`RemoteObject`). Objects that do not stay in the worker have a
 * text instead of the identity.
 */
export const classes: Record<string, new (state: never, more: never) => object> = {};

/** The error classes, by names that a minifier does not change. */
const ERRORS: Readonly<Record<string, unknown>> = {
  DINOv2Error,
  SafetensorsError,
  SourceError,
  CheckpointError,
  ConfigError,
  ImageError,
  OptionError,
  DeviceError,
};

/**
 * Replaces the stand-ins (see protocol.ts) in a result or error. `made` lists the objects that were
 * constructed for them.
 */
export function receive(result: unknown, call: Call): { value: unknown; made: readonly object[] } {
  const made: object[] = [];
  const change = (each: object): unknown => {
    if (!(KIND in each)) return each;
    const sent = each as SentResult;
    if (sent[KIND] === 'thrown') return call.errors[sent.index];
    if (sent[KIND] === 'error') return toError(sent, convert(sent.cause, change));
    const more = 'id' in sent ? { connection: call.connection, kind: sent[KIND], id: sent.id } : sent.text;
    const object = new classes[sent[KIND]]!(convert(sent.state, change) as never, more as never);
    made.push(object);
    return object;
  };
  return { value: convert(result, change), made };
}

type OurError = new (code: string, message: string, options: object) => DINOv2Error;

function toError({ of, name, message, stack, code = '', status }: SentError, cause: unknown): Error {
  if (of === 'DOMException') return new DOMException(message, name);
  const options = cause === undefined ? {} : { cause };
  const Ours = ERRORS[of] as OurError | undefined;
  const BuiltIn = Reflect.get(globalThis, of) as ErrorConstructor;
  const error: Error = Ours ? new Ours(code, message, { ...options, status }) : new BuiltIn(message, options);
  if (stack !== undefined) error.stack = stack;
  if (error.name !== name) error.name = name;
  return error;
}
