/** Classes of the page whose methods run in the worker, and how their objects arrive. */
import { Call, type Pack } from './call.js';
import { Handle, type Place } from './handles.js';
import { convert, KIND, type SentResult } from './protocol.js';
import { receiveError } from './receiveError.js';

type Method = (...args: never[]) => unknown;

/**
 * How the arguments of each method travel. A method that is not listed does not exist in the page, and none is
 * there by accident: each method of `Api` must be listed.
 */
export type Methods<Api> = {
  readonly [
    Name in Exclude<keyof Api, 'dispose' | symbol> as Api[Name] extends Method ? Name : never
  ]: readonly Pack[];
};

/** A class whose objects have the state and methods of `Api`. */
export type RemoteClass<Api> = new (state: object, place: Place) => Handle & Api;

/** A class with these methods. The state of an object comes with the result that gives it. */
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

/** Calls a method, or a getter, of the object that a handle stands for. */
export function ask(
  handle: Handle,
  method: string,
  packs?: readonly Pack[],
  args?: readonly unknown[],
): Promise<unknown> {
  return new Call(method, Handle.placeOf(handle)!.connection).send(handle, method, packs, args);
}

/** Stands for a class of the library in a call of a static method; or for its `functions`. */
export const classOf = (name: string): object => ({ [KIND]: 'class', name });

/** Makes objects of the page's classes, by the name of the class: from their state, and where or what else they are. */
export const classes: Record<string, new (state: never, more: never) => object> = {};

/** A result of the worker with the page's objects in it, which are listed too. */
export function receive(result: unknown, call: Call): { value: unknown; made: readonly object[] } {
  const made: object[] = [];
  const change = (each: object): unknown => {
    if (!(KIND in each)) return each;
    const sent = each as SentResult;
    if (sent[KIND] === 'error') return receiveError(sent.error, call);
    const more = 'id' in sent ? { connection: call.connection, kind: sent[KIND], id: sent.id } : sent.text;
    const object = new classes[sent[KIND]]!(convert(sent.state, change) as never, more as never);
    made.push(object);
    return object;
  };
  return { value: convert(result, change), made };
}
