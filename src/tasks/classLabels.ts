/** Class names of classifiers: names from the caller, names from config.json, or ImageNet's names. */
import type { HeadShape } from '../weights/head.js';
import { ConfigError } from '../errors.js';
import { loadPart } from '../platform/part.js';

/**
 * Class names: a list in the order of the classifier's outputs, or an object from class index to name, as
 * `id2label` in config.json.
 */
export type ClassLabels = readonly string[] | Readonly<Record<string, string>>;

/** The task that a classifier was trained for: `problem_type` of config.json, with transformers' values. */
export type ProblemType = 'single_label_classification' | 'multi_label_classification' | 'regression';

/** Returns true if `value` is one of transformers' problem types. */
export const isProblemType = (value: unknown): value is ProblemType =>
  value === 'single_label_classification' || value === 'multi_label_classification' || value === 'regression';

/**
 * Returns a list with one name per class.
 * @throws ConfigError CONFIG_FIELD, if `labels` does not have exactly one name per class
 */
export function labelList(labels: ClassLabels | undefined, numClasses: number): readonly string[] {
  if (labels === undefined) return Array.from({ length: numClasses }, (_, i) => `LABEL_${i}`);
  const list = Array.isArray(labels)
    ? (labels as readonly string[])
    : Array.from(
        { length: Object.keys(labels).length },
        (_, i) => (labels as Readonly<Record<string, string>>)[i],
      );
  if (list.length !== numClasses || !list.every((label): label is string => typeof label === 'string')) {
    throw new ConfigError(
      'CONFIG_FIELD',
      `labels: expected ${numClasses} names, one for each class from 0 to ${numClasses - 1}, found ${list.filter((label) => typeof label === 'string').length}. Pass the list that belongs to this classifier.`,
    );
  }
  return list;
}

/**
 * Reads class names from config.json: `id2label`, or timm's `label_names`. Returns undefined if the number of
 * names differs from the number of classes: such a list belongs to a different classifier and would give
 * wrong names.
 */
export function labelsOfConfig(
  labels: Readonly<Record<string, unknown>> | undefined,
  numClasses: number,
): readonly string[] | undefined {
  const list = new Map(Object.entries(labels ?? {}).map(([key, label]) => [Number(key), label]));
  if (list.size !== numClasses || Object.keys(labels!).length !== numClasses) return undefined;
  const names: string[] = [];
  for (let i = 0; i < numClasses; i++) {
    const label = list.get(i);
    if (typeof label !== 'string' && typeof label !== 'number') return undefined;
    names.push(String(label));
  }
  return names;
}

/**
 * Returns ImageNet's class names for Meta's published linear heads, whose files contain no names. Such a head
 * is recognized by its form: 1,000 classes, and tensors named `linear_head.…` beside a backbone, or a bare
 * `weight` and `bias`. Returns undefined for any other head, because even a head of 1,000 classes may belong
 * to a different data set.
 */
export async function labelsOfMeta({
  numClasses,
  module,
}: Pick<HeadShape, 'numClasses' | 'module'>): Promise<readonly string[] | undefined> {
  if (numClasses !== 1000 || (module !== 'linear_head' && module !== '')) return undefined;
  return (await loadPart(import('./imagenetLabels.js'))).imagenetLabels;
}
