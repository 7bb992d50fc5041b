/** The visitor's choices, as plain data. */
import type { DINOv2 } from '../src/index.js';

export type Size = 'small' | 'base' | 'large';
export type WeightsFrom = 'synthetic' | 'hub' | 'file';

export interface ModelChoice {
  readonly size: Size;
  readonly registers: boolean;
  readonly weights: WeightsFrom;
  readonly dtype: 'fp32' | 'fp16';
  /** For `file`: the weights and, if given, config.json and preprocessor_config.json. */
  readonly file?: File | undefined;
  readonly config?: File | undefined;
  readonly preprocessor?: File | undefined;
}

/** A checkpoint's files. */
export type CheckpointFiles = Pick<ModelChoice, 'config' | 'preprocessor'> & { readonly file: File };

/** Finds a checkpoint among the visitor's files; undefined without weights. */
export function checkpointAmong(files: readonly File[]): CheckpointFiles | undefined {
  const file = files.find(({ name }) => /\.safetensors$/i.test(name));
  if (!file) return undefined;
  const texts = files.filter(({ name }) => /\.json$/i.test(name));
  const preprocessor = texts.find(({ name }) => /^preprocessor/i.test(name));
  return { file, preprocessor, config: texts.find((each) => each !== preprocessor) };
}

/**
 * The input to the model. `crop`: the checkpoint's own preprocessing, usually a central crop. A number: the
 * whole picture, resized to this longest side in pixels.
 */
export type InputSize = 'crop' | 224 | 322 | 448 | 518;

/** A decoded picture. The model and the page use the same pixels. */
export interface Picture {
  readonly name: string;
  readonly bitmap: ImageBitmap;
  /** The value of the picture's radio button: the name of a sample, or `own`. */
  readonly choice: string;
}

/** A model on the GPU, in the page or in a worker, with the choice and the time of its load. */
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
/** Bytes of model.safetensors on the hub, rounded to three digits. */
const hubBytes: Readonly<Record<Size, number>> = { small: 88.2e6, base: 346e6, large: 1.22e9 };

export const sameChoice = (a: ModelChoice, b: ModelChoice): boolean =>
  a.weights === b.weights &&
  a.dtype === b.dtype &&
  (a.weights === 'file'
    ? a.file === b.file && a.config === b.config && a.preprocessor === b.preprocessor
    : a.size === b.size && a.registers === b.registers);

/** Returns the model's id on the Hugging Face hub. */
export const hubId = ({ size, registers }: ModelChoice): string =>
  `facebook/dinov2-${registers ? 'with-registers-' : ''}${size}`;

export const downloadBytes = ({ size }: ModelChoice): number => hubBytes[size];

/** Returns a name such as `ViT-S`, or the file's name. */
export const modelName = ({ size, registers, weights, file }: ModelChoice): string =>
  weights === 'file' ? (file?.name ?? 'a file') : `ViT-${letters[size]}${registers ? ' with registers' : ''}`;

/** Describes the origin of the weights in a few words. */
export function weightsName(choice: ModelChoice): string {
  if (choice.weights === 'hub') return hubId(choice);
  return choice.weights === 'file' ? (choice.file?.name ?? 'a file') : 'synthetic, not trained';
}
