/** Results that arrive after the page has given the call up: what they stand for is freed in the worker. */
import type { ClassifierState, FeaturesState, GroupState, ModelState, Operation, Request } from './protocol.js';

type Disposing = 'disposeModel' | 'disposeFeatures' | 'disposeClassifier';

/** What has no reply that a page could wait for. */
export type Disposal = { [Name in Disposing]: { readonly operation: Name; readonly request: Request<Name> } }[Disposing];

/** A page that drops its models, features and classifiers without dispose() gets the memory back when the garbage collector comes by. */
export const abandoned: FinalizationRegistry<() => void> = new FinalizationRegistry((free) => free());

/** What frees the objects that a result of `operation` gives a page handles of: none, for results that are all there is. */
export function disposalsOf(operation: Operation, value: unknown): Disposal[] {
  switch (operation) {
    case 'load': {
      const { model, classifier } = value as ModelState;
      return [{ operation: 'disposeModel', request: { model } }, ...(classifier ? [disposalOfClassifier(classifier)] : [])];
    }
    case 'openClassifier':
      return [disposalOfClassifier(value as ClassifierState)];
    case 'features':
    case 'forward':
      return [disposalOf(value as FeaturesState)];
    case 'featuresBySize':
      return (value as readonly GroupState[]).map(({ features }) => disposalOf(features));
    default:
      return [];
  }
}

export const disposalOfClassifier = ({ classifier }: ClassifierState): Disposal => ({ operation: 'disposeClassifier', request: { classifier } });

const disposalOf = ({ features }: FeaturesState): Disposal => ({ operation: 'disposeFeatures', request: { features } });
