/** Handles: objects of the page that represent objects in the worker. */
import type { WorkerConnection } from './call.js';
import type { ObjectKind } from './protocol.js';

/** Identifies the object in the worker that a handle represents. */
export interface RemoteObject {
  readonly connection: WorkerConnection;
  readonly kind: ObjectKind;
  /** The worker's number for the object. */
  readonly id: number;
  freed?: true;
}

/** Frees the object in the worker if the page drops its handle without calling `dispose()`. */
const abandoned = new FinalizationRegistry<RemoteObject>((object) => free(object));

/** Protects each value from garbage collection for as long as its key is in use. */
const owners = new WeakMap<object, object>();
export const keepOwner = (part: object, owner: object): void => void owners.set(part, owner);

/**
 * Base class of the page's classes. A handle holds a copy of the state of the worker's object, which never
 * changes. Its private field lets TypeScript distinguish the worker's classes from the library's own.
 */
export class Handle {
  /** The object in the worker. */
  readonly #object: RemoteObject;

  /** @internal */
  constructor(state: object, object: RemoteObject) {
    Object.assign(this, state);
    for (const part of Object.values(state)) if (part instanceof Handle) keepOwner(part, this);
    this.#object = object;
    if (holdsWorker(object)) object.connection.count(1);
    abandoned.register(this, object);
  }

  /**
   * The object in the worker that a handle represents. Undefined if `value` is not a handle.
   * @internal
   */
  static objectOf(value: unknown): RemoteObject | undefined {
    return typeof value === 'object' && value !== null && #object in value ? value.#object : undefined;
  }
}

/** Base of the classes that own memory in the worker. */
export class OwnedHandle extends Handle {
  dispose(): void {
    free(Handle.objectOf(this));
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Frees an object in the worker. Repeated calls have no effect. */
export function free(object: RemoteObject | undefined): void {
  if (!object || object.freed) return;
  object.freed = true;
  object.connection.dispose(object.id);
  if (holdsWorker(object)) object.connection.count(-1);
}

/** Whether an object keeps the worker alive. A classifier does not, because it belongs to a model. */
const holdsWorker = ({ kind }: RemoteObject): boolean => kind !== 'ImageClassifier';
