/**
 * The model of the search page. It runs in a worker, so that the page stays responsive while photographs are
 * added.
 */
import { DINOv2 } from '../../src/worker.js';
import { ModelState } from '../shared/model.js';
import type { Loaded } from '../shared/modelChoice.js';
import { setModel } from './collection.js';

type Listener = (loaded: Loaded<DINOv2> | undefined) => void;

const listeners: Listener[] = [];

export const model = new ModelState<DINOv2>(DINOv2, async (loaded) => {
  await setModel(loaded);
  for (const listener of listeners) listener(loaded);
});

/** Calls `listener` after each change of the model, once the collection knows the new model. */
export function whenModel(listener: Listener): void {
  listeners.push(listener);
}

/** Discards the model if an error shows that its GPU or worker is lost, and then returns true. */
export const lostBy = (error: unknown): boolean => model.lostBy(error);
