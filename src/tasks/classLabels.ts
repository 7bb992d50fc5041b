/** The names of a classifier's classes. */
import type { HeadShape } from '../weights/head.js';
import { ConfigError } from '../errors.js';
import { loadPart } from '../platform/part.js';

/**
 * Names of classes: in the order of the classifier's outputs, or by their index as in config.json's
 * `id2label`.
 */
export type ClassLabels = readonly string[] | Readonly<Record<string, string>>;

/** What a classifier was trained for: `problem_type` of config.json, in transformers' words. */
export type ProblemType = 'single_label_classification' | 'multi_label_classification' | 'regression';

/** Whether a value is one of transformers' problem types. */
export const isProblemType = (value: unknown): value is ProblemType =>
  value === 'single_label_classification' || value === 'multi_label_classification' || value === 'regression';

/** One name for each class. @throws ConfigError CONFIG_FIELD if they are not one for each class */
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
      `labels: expected ${numClasses} names, one for each class from 0 to ${numClasses - 1}, found ${list.filter((label) => typeof label === 'string').length}. Give the list that belongs to this classifier.`,
    );
  }
  return list;
}

/**
 * The names that config.json gives to a classifier's classes: `id2label`, or timm's `label_names`. Undefined
 * unless there is exactly one for each class: a list of another length belongs to another classifier, and
 * would name some class wrongly.
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
 * ImageNet's names for the linear heads that Meta publishes, which say nothing of their classes. They are told
 * by their form: 1,000 classes, as `linear_head` beside a backbone or as a bare `weight` and `bias`. Other
 * heads of 1,000 classes may be of other data sets.
 */
export async function labelsOfMeta({
  numClasses,
  module,
}: Pick<HeadShape, 'numClasses' | 'module'>): Promise<readonly string[] | undefined> {
  if (numClasses !== 1000 || (module !== 'linear_head' && module !== '')) return undefined;
  return (await loadPart(import('./imagenetLabels.js'))).imagenetLabels;
}
