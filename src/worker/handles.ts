/** Handles: objects of the page that represent objects in the worker. */
import type { WorkerConnection } from './call.js';
import type { ObjectKind } from './protocol.js';

/** Identifies an object in the worker that a handle represents. */
export interface RemoteObject {
  readonly connection: WorkerConnection;
  readonly kind: ObjectKind;
  /** The number by which the worker finds the object. */
  readonly id: number;
  freed?: true;
}

/**
 * Frees an object in the worker if its handle in the page is garbage-collected without a call of `dispose()`.
 */
const abandoned = new FinalizationRegistry<RemoteObject>((object) => free(object));

/**
 * Maps an object that is a part of another (a classifier of a model) to its owner, so that the owner is not
 * garbage-collected while the part is in use.
 */
const owners = new WeakMap<object, object>();
export const keepOwner = (part: object, owner: object): void => void owners.set(part, owner);

/**
 * Base class of the classes whose objects in the page are handles. A handle holds a copy of the properties of
 * the worker's object; these properties never change. The private field lets TypeScript distinguish these
 * classes from the classes of `dinov2-webgpu`, which have the same names.
 */
export class Handle {
  /** Identifies the object in the worker. */
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
   * Returns the identity of the object in the worker that a handle represents. Undefined if `value` is not a
   * handle.
   * @internal
   */
  static objectOf(value: unknown): RemoteObject | undefined {
    return typeof value === 'object' && value !== null && #object in value ? value.#object : undefined;
  }
}

/** Base class of the handles whose objects in the worker own memory. */
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
