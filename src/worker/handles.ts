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

/** Frees the worker's object if the page drops a handle without `dispose()`. */
const abandoned = new FinalizationRegistry<RemoteObject>((object) => free(object));

/** Keeps the value from garbage collection for as long as the key is in use. */
const owners = new WeakMap<object, object>();
export const keepOwner = (part: object, owner: object): void => void owners.set(part, owner);

/**
 * Base of the page's classes. Copies the state of the worker's object, which never changes. Its private field
 * lets TypeScript tell the worker's classes from the library's own.
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
   * The object in the worker that a handle represents. Undefined for anything but a handle.
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

/** Frees the object in the worker. Further calls do nothing. */
export function free(object: RemoteObject | undefined): void {
  if (!object || object.freed) return;
  object.freed = true;
  object.connection.dispose(object.id);
  if (holdsWorker(object)) object.connection.count(-1);
}

/** A classifier belongs to its model, and does not keep the worker alive. */
const holdsWorker = ({ kind }: RemoteObject): boolean => kind !== 'ImageClassifier';
