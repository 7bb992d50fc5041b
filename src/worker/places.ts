/** Which worker the things of a page are in, and by which number it knows them. */
import { OptionError } from '../errors.js';
import type { Connection } from './connection.js';

export interface Place {
  readonly connection: Connection;
  readonly id: number;
}

export const modelPlaces: WeakMap<object, Place> = new WeakMap();

/** @throws OptionError OPTION_VALUE for a model of another entry */
export function modelPlaceOf(model: object): Place {
  const place = modelPlaces.get(model);
  if (place) return place;
  throw new OptionError(
    'OPTION_VALUE',
    "ImageClassifier: expected a model of 'dinov2-webgpu/worker', found something else. Import model and classifier from one entry.",
  );
}
