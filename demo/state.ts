/** What a visitor can choose, as plain data. */
import type { DINOv2 } from '../src/index.js';

export type Size = 'small' | 'base' | 'large';
export type WeightsFrom = 'synthetic' | 'hub' | 'file';

export interface ModelChoice {
  readonly size: Size;
  readonly registers: boolean;
  readonly weights: WeightsFrom;
  readonly dtype: 'fp32' | 'fp16';
  /** For `file`: the weights, and config.json and preprocessor_config.json where they were given too. */
  readonly file?: File | undefined;
  readonly config?: File | undefined;
  readonly preprocessor?: File | undefined;
}

/** A checkpoint's files. */
export type CheckpointFiles = Pick<ModelChoice, 'config' | 'preprocessor'> & { readonly file: File };

/** The checkpoint among files that a visitor gives; undefined where there are no weights. */
export function checkpointAmong(files: readonly File[]): CheckpointFiles | undefined {
  const file = files.find(({ name }) => /\.safetensors$/i.test(name));
  if (!file) return undefined;
  const texts = files.filter(({ name }) => /\.json$/i.test(name));
  const preprocessor = texts.find(({ name }) => /^preprocessor/i.test(name));
  return { file, preprocessor, config: texts.find((each) => each !== preprocessor) };
}

/**
 * `crop`: as the checkpoint's preprocessing says, a central crop for most. A number: the whole picture, its longest
 * side that long.
 */
export type InputSize = 'crop' | 224 | 322 | 448 | 518;

/** A picture that was decoded: the model and the page see the same pixels. */
export interface Picture {
  readonly name: string;
  readonly bitmap: ImageBitmap;
  /** Its radio: the name of a sample, or `own`. */
  readonly choice: string;
}

/** A model on the GPU, in the page or in a worker, and how it got there. */
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

const letters: Readonly<Record<Size, string>> = { small: 'S', base: 'B', large: 'L' };
/** Bytes of model.safetensors on the hub, to three digits. */
const hubBytes: Readonly<Record<Size, number>> = { small: 88.2e6, base: 346e6, large: 1.22e9 };

export const sameChoice = (a: ModelChoice, b: ModelChoice): boolean =>
  a.weights === b.weights &&
  a.dtype === b.dtype &&
  (a.weights === 'file'
    ? a.file === b.file && a.config === b.config && a.preprocessor === b.preprocessor
    : a.size === b.size && a.registers === b.registers);

/** The id on the Hugging Face hub. */
export const hubId = ({ size, registers }: ModelChoice): string =>
  `facebook/dinov2-${registers ? 'with-registers-' : ''}${size}`;

export const downloadBytes = ({ size }: ModelChoice): number => hubBytes[size];

/** `ViT-S`, or the file's name. */
export const modelName = ({ size, registers, weights, file }: ModelChoice): string =>
  weights === 'file' ? (file?.name ?? 'a file') : `ViT-${letters[size]}${registers ? ' with registers' : ''}`;

/** Where the weights come from, in a few words. */
export function weightsName(choice: ModelChoice): string {
  if (choice.weights === 'hub') return hubId(choice);
  return choice.weights === 'file' ? (choice.file?.name ?? 'a file') : 'synthetic, not trained';
}
