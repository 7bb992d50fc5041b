/**
 * What the worker holds for nobody any more, and how it is told: results that arrive after the page has given
 * the call up, and objects that the page has dropped.
 */
import type {
  ClassifierState,
  FeaturesState,
  GroupState,
  ModelState,
  Operation,
  Request,
} from './protocol.js';

type Disposing = 'disposeModel' | 'disposeFeatures' | 'disposeClassifier';

/** What has no reply that a page could wait for. */
export type Disposal = {
  [Name in Disposing]: { readonly operation: Name; readonly request: Request<Name> };
}[Disposing];

/**
 * A page that drops its models, features and classifiers without dispose() gets the memory back when the
 * garbage collector comes by.
 */
export const abandoned: FinalizationRegistry<() => void> = new FinalizationRegistry((free) => free());

/**
 * What frees the objects that a result of `operation` gives a page handles of: none, for results that are all
 * there is.
 */
export function disposalsOf(operation: Operation, value: unknown): Disposal[] {
  switch (operation) {
    case 'load': {
      const { model, classifier } = value as ModelState;
      return [disposalOfModel(model), ...(classifier ? [disposalOfClassifier(classifier.classifier)] : [])];
    }
    case 'openClassifier':
      return [disposalOfClassifier((value as ClassifierState).classifier)];
    case 'features':
    case 'forward':
      return [disposalOfFeatures((value as FeaturesState).features)];
    case 'featuresBySize':
      return (value as readonly GroupState[]).map(({ features: { features } }) =>
        disposalOfFeatures(features),
      );
    default:
      return [];
  }
}

export const disposalOfModel = (model: number): Disposal => ({
  operation: 'disposeModel',
  request: { model },
});
export const disposalOfFeatures = (features: number): Disposal => ({
  operation: 'disposeFeatures',
  request: { features },
});
export const disposalOfClassifier = (classifier: number): Disposal => ({
  operation: 'disposeClassifier',
  request: { classifier },
});
