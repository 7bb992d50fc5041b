/** Results that arrive after the page has given the call up: what they stand for is freed in the worker. */
import type { FeaturesState, GroupState, ModelState, Operation, Request } from './protocol.js';

/** What has no reply that a page could wait for. */
export type Disposal = { [Name in 'disposeModel' | 'disposeFeatures']: { readonly operation: Name; readonly request: Request<Name> } }['disposeModel' | 'disposeFeatures'];

/** What frees the objects that a result of `operation` gives a page handles of: none, for results that are all there is. */
export function disposalsOf(operation: Operation, value: unknown): Disposal[] {
  switch (operation) {
    case 'load':
      return [{ operation: 'disposeModel', request: { model: (value as ModelState).model } }];
    case 'features':
    case 'forward':
      return [disposalOf(value as FeaturesState)];
    case 'featuresBySize':
      return (value as readonly GroupState[]).map(({ features }) => disposalOf(features));
    default:
      return [];
  }
}

const disposalOf = ({ features }: FeaturesState): Disposal => ({ operation: 'disposeFeatures', request: { features } });
