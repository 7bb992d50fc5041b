/** Objects of the page that stand for objects in the worker. */
import type { Connection } from './connection.js';
import type { ObjectKind } from './protocol.js';

/** Where the object is that a handle stands for. */
export interface Place {
  readonly connection: Connection;
  readonly kind: ObjectKind;
  /** The worker's number of it. */
  readonly id: number;
  freed?: true;
}

/** A page that drops handles without dispose() gets the memory back when the garbage collector comes by. */
const abandoned = new FinalizationRegistry<Place>((place) => free(place));

/** Objects that are used through another, which must not be collected before. */
const owners = new WeakMap<object, object>();

/** The base of the page's classes: the state of the object in the worker as it was made, and its place. */
export class Handle {
  readonly #place: Place;

  constructor(state: object, place: Place) {
    Object.assign(this, state);
    for (const part of Object.values(state)) if (part instanceof Handle) keepOwner(part, this);
    this.#place = place;
    if (holdsWorker(place)) place.connection.count(1);
    abandoned.register(this, place);
  }

  /** Undefined for anything but a handle. */
  static placeOf(value: unknown): Place | undefined {
    return typeof value === 'object' && value !== null && #place in value ? value.#place : undefined;
  }
}

/** What has an end of its own: `using` ends it with a block. */
export class OwnedHandle extends Handle {
  dispose(): void {
    free(Handle.placeOf(this));
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Keeps `owner` from being collected as long as `part` is in use. */
export const keepOwner = (part: object, owner: object): void => void owners.set(part, owner);

/** Frees the object in the worker. Further calls do nothing. */
export function free(place: Place | undefined): void {
  if (!place || place.freed) return;
  place.freed = true;
  place.connection.dispose(place.id);
  if (holdsWorker(place)) place.connection.count(-1);
}

/** A classifier is a part of its model, and has no end of its own. */
const holdsWorker = ({ kind }: Place): boolean => kind !== 'ImageClassifier';
