/** What a config.json says about a model and its classifier. */
import type { Preprocessing } from '../image/preprocessing.js';
import type { DINOv2Config } from '../model/config.js';
import type { ConfigFile, ConfigHints } from '../model/configJson.js';

/** What config.json says about a model. */
export interface Described {
  readonly config?: DINOv2Config | undefined;
  /** Hints for a configuration that follows from the tensors' shapes. */
  readonly hints?: ConfigHints | undefined;
  /** Names of a classifier's classes by index: `id2label`, or timm's `label_names`. */
  readonly labels?: Readonly<Record<string, unknown>> | undefined;
  /** `problem_type`, unchecked. */
  readonly problemType?: unknown;
  /** `global_pool`: the pooling that timm's `head` expects. */
  readonly globalPool?: unknown;
  /** Preprocessing of images. Default: DEFAULT_PREPROCESSING. */
  readonly preprocessing?: Preprocessing | undefined;
}

/** Adds to the description of a model what config.json says about a classifier. */
export function withClassifier(file: ConfigFile, json: unknown): Described {
  const { id2label, label_names, problem_type, global_pool } = json as Readonly<Record<string, unknown>>;
  const labels = [id2label, label_names].find((names) => typeof names === 'object' && names !== null);
  return {
    ...file,
    ...(labels ? { labels: labels as Readonly<Record<string, unknown>> } : {}),
    ...(problem_type == null ? {} : { problemType: problem_type }),
    ...(global_pool == null ? {} : { globalPool: global_pool }),
  };
}
