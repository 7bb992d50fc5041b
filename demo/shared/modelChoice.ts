/** The visitor's choice of a model: its data type, its storage, and functions that describe it. */
import type { DINOv2, Dtype, ModelSize } from '../../src/index.js';
import { recall, remember } from './storage.js';

export type Size = ModelSize;
export type WeightsFrom = 'synthetic' | 'hub' | 'file';

export interface ModelChoice {
  readonly size: Size;
  readonly registers: boolean;
  readonly weights: WeightsFrom;
  readonly dtype: Dtype | 'auto';
  /** True: the checkpoint with a classifier for ImageNet. Only for `weights: 'hub'`. */
  readonly classes?: boolean | undefined;
  /**
   * The weights file that the visitor chose; undefined unless `weights` is `file`. `config` and
   * `preprocessor` are the files config.json and preprocessor_config.json, if the visitor chose them too.
   */
  readonly file?: File | undefined;
  readonly config?: File | undefined;
  readonly preprocessor?: File | undefined;
}

/** The files of a checkpoint that the visitor chose. */
export type CheckpointFiles = Pick<ModelChoice, 'config' | 'preprocessor'> & { readonly file: File };

/**
 * Finds the files of a checkpoint among the visitor's files. Returns undefined if none of the files contains
 * weights.
 */
export function checkpointAmong(files: readonly File[]): CheckpointFiles | undefined {
  const file = files.find(({ name }) => /\.safetensors$/i.test(name));
  if (!file) return undefined;
  const texts = files.filter(({ name }) => /\.json$/i.test(name));
  const preprocessor = texts.find(({ name }) => /^preprocessor/i.test(name));
  return { file, preprocessor, config: texts.find((each) => each !== preprocessor) };
}

/**
 * A loaded model, in the page or in a worker, with the choice that led to it and the time that loading took.
 */
export interface Loaded<Model = DINOv2> {
  readonly model: Model;
  readonly choice: ModelChoice;
  readonly loadMs: number;
}

export const firstChoice: ModelChoice = {
  size: 'small',
  registers: false,
  weights: 'synthetic',
  dtype: 'fp32',
};

const letters: Readonly<Record<Size, string>> = { small: 'S', base: 'B', large: 'L', giant: 'g' };

/** Names of the element types of weights on the GPU. */
export const dtypeNames: Readonly<Record<ModelChoice['dtype'], string>> = {
  auto: 'automatic',
  fp32: 'float32',
  fp16: 'float16',
  int8: 'int8',
};

const KEY = 'model';

/** Stores a choice for the next visit. Weights in a file of the visitor cannot be stored. */
export function keepChoice({ size, registers, weights, dtype, classes }: ModelChoice): void {
  if (weights !== 'file') remember(KEY, JSON.stringify({ size, registers, weights, dtype, classes }));
}

/** Returns the choice that was stored on the last visit. */
export function keptChoice(): ModelChoice | undefined {
  try {
    const kept = JSON.parse(recall(KEY) ?? 'null') as ModelChoice | null;
    const known =
      kept &&
      Object.hasOwn(letters, kept.size) &&
      ['synthetic', 'hub'].includes(kept.weights) &&
      Object.hasOwn(dtypeNames, kept.dtype);
    return known
      ? {
          size: kept.size,
          registers: kept.registers === true,
          weights: kept.weights,
          dtype: kept.dtype,
          classes: kept.classes === true,
        }
      : undefined;
  } catch {
    return undefined; // the stored text is not of these pages
  }
}

/** Size in bytes of model.safetensors on the Hugging Face hub, rounded to three digits. */
const hubBytes: Readonly<Record<Size, number>> = {
  small: 88.2e6,
  base: 346e6,
  large: 1.22e9,
  giant: 4.55e9,
};

/** Size in bytes of the classifier for ImageNet: 1,000 classes, each with 2 · embedDim weights in float32. */
const classifierBytes: Readonly<Record<Size, number>> = {
  small: 3.1e6,
  base: 6.1e6,
  large: 8.2e6,
  giant: 12.3e6,
};

export const sameChoice = (a: ModelChoice, b: ModelChoice): boolean =>
  a.weights === b.weights &&
  a.dtype === b.dtype &&
  (a.weights === 'file'
    ? a.file === b.file && a.config === b.config && a.preprocessor === b.preprocessor
    : a.size === b.size && a.registers === b.registers && hasClasses(a) === hasClasses(b));

/** True if a model is loaded with a classifier for ImageNet. */
const hasClasses = ({ weights, classes }: ModelChoice): boolean => weights === 'hub' && classes === true;

/** Returns the model's id on the Hugging Face hub. */
export const hubId = (choice: ModelChoice): string =>
  `facebook/dinov2-${choice.registers ? 'with-registers-' : ''}${choice.size}${hasClasses(choice) ? '-imagenet1k-1-layer' : ''}`;

export const downloadBytes = (choice: ModelChoice): number =>
  hubBytes[choice.size] + (hasClasses(choice) ? classifierBytes[choice.size] : 0);

/** Returns the name of a model for the page: a name such as `ViT-S`, or the name of the visitor's file. */
export function modelName(choice: ModelChoice): string {
  if (choice.weights === 'file') return choice.file?.name ?? 'a file';
  const parts = [choice.registers ? 'registers' : '', hasClasses(choice) ? 'classes' : ''].filter(Boolean);
  return `ViT-${letters[choice.size]}${parts.length > 0 ? ` with ${parts.join(' and ')}` : ''}`;
}

/** Says in a few words where the weights of a model come from. */
export function weightsName(choice: ModelChoice): string {
  if (choice.weights === 'hub') return hubId(choice);
  return choice.weights === 'file' ? (choice.file?.name ?? 'a file') : 'synthetic, not trained';
}
