/** Linear classifiers on DINOv2's features: what an image shows, by class. */
import { readHead, type LinearHead } from '../checkpoint/head.js';
import type { ByteSource } from '../checkpoint/sources.js';
import { openTensors } from '../checkpoint/tensorStream.js';
import { CheckpointError, ConfigError, OptionError } from '../errors.js';
import type { PixelOptions } from '../image/preprocess.js';
import type { ImageSource } from '../image/source.js';
import type { DINOv2Config } from '../model/config.js';
import type { Features } from '../model/features.js';
import { checkOptions } from '../optionNames.js';

/** What a classifier needs of a model: `DINOv2` has it. */
export interface ClassifierModel {
  readonly config: DINOv2Config;
  featuresBySize(
    images: readonly ImageSource[],
    options?: PixelOptions & { readonly layers?: readonly number[] | undefined },
  ): Promise<readonly { readonly indices: readonly number[]; readonly features: Features }[]>;
}

/**
 * Names of classes: in the order of the classifier's outputs, or by their index as in config.json's
 * `id2label`.
 */
export type ClassLabels = readonly string[] | Readonly<Record<string, string>>;

/** A classifier of its own. */
export interface ClassifierFiles {
  /**
   * A safetensors file with `linear.weight` and `linear.bias` (or `linear_head.…`, `classifier.…`, or the
   * bare names).
   */
  readonly weights: ByteSource;
  /** Default: `LABEL_0`, `LABEL_1`, … */
  readonly labels?: ClassLabels | undefined;
}

export interface ClassifyOptions extends PixelOptions {
  /** How many of the likeliest classes to give. Default: 5. */
  readonly topK?: number | undefined;
}

export interface Classification {
  readonly label: string;
  /** Of the class, from 0. */
  readonly index: number;
  /** Softmax over all classes, 0 to 1. */
  readonly score: number;
  readonly logit: number;
}

/**
 * A linear layer on concat(cls, mean of the patches), which is Hugging Face's `Dinov2ForImageClassification`
 * and facebookresearch's 1-layer head, or on concat(cls of the last four blocks, mean of the patches of the
 * last), facebookresearch's 4-layer head; all after the final norm. (dinov2/hub/classifiers.py.) It owns
 * nothing on the GPU: logits are float64 sums on the CPU, a few million products.
 */
export class ImageClassifier {
  /** Names of the classes, by index. */
  readonly labels: readonly string[];
  readonly numClasses: number;
  /** Blocks that it reads: 1 or 4. */
  readonly blocks: 1 | 4;
  readonly #model: ClassifierModel;
  readonly #head: LinearHead;

  /** Use `model.classifier` or `ImageClassifier.fromFiles`. */
  constructor(model: ClassifierModel, head: LinearHead, labels: ClassLabels | undefined) {
    const { embedDim, depth } = model.config;
    const blocks = head.inFeatures / embedDim - 1;
    if ((blocks !== 1 && blocks !== 4) || depth < blocks) {
      throw new CheckpointError(
        'CHECKPOINT_TENSORS',
        `classifier: expected ${2 * embedDim} features (1 layer) or ${5 * embedDim} (4 layers) for a model of embed_dim ${embedDim}, found ${head.inFeatures}. Take the head that was trained on this model.`,
      );
    }
    this.#model = model;
    this.#head = head;
    this.blocks = blocks;
    this.numClasses = head.numClasses;
    this.labels = labelList(labels, head.numClasses);
  }

  /**
   * A classifier from a file of its own, such as facebookresearch's heads saved as safetensors.
   * @throws CheckpointError if it holds no linear classifier for this model; ConfigError CONFIG_FIELD if the
   *   labels are not as many as the classes; SourceError, SafetensorsError
   */
  static async fromFiles(
    model: ClassifierModel,
    files: ClassifierFiles,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<ImageClassifier> {
    const { weights, labels } = checkOptions('ImageClassifier.fromFiles', files ?? null);
    checkOptions('ImageClassifier.fromFiles', options);
    return new ImageClassifier(model, await readHead(await openTensors(weights, options)), labels);
  }

  /** What `logits` needs to be kept of a forward: pass it to `features()` or `forward()`. */
  get layers(): readonly number[] {
    const { depth } = this.#model.config;
    return this.blocks === 1 ? [] : [depth - 3, depth - 2, depth - 1];
  }

  /**
   * The likeliest classes of an image, the likeliest first; of an array of images, an array of such lists, in
   * its order. With `resize: 'fit'` they may differ in size. Errors as `features()`.
   */
  async classify(image: readonly ImageSource[], options?: ClassifyOptions): Promise<Classification[][]>;
  async classify(image: ImageSource, options?: ClassifyOptions): Promise<Classification[]>;
  async classify(
    image: ImageSource | readonly ImageSource[],
    options: ClassifyOptions = {},
  ): Promise<Classification[] | Classification[][]> {
    const { topK = 5, ...others } = checkOptions('classify', options);
    if (!Number.isInteger(topK) || topK < 1)
      throw new OptionError('OPTION_VALUE', `topK: expected a whole number from 1, found ${String(topK)}.`);
    const groups = await this.#model.featuresBySize(isList(image) ? image : [image], {
      ...others,
      layers: this.layers,
    });
    try {
      const found: Classification[][] = [];
      for (const { indices, features } of groups) {
        for (const [i, logits] of (await this.logits(features)).entries())
          found[indices[i]!] = this.#likeliest(logits, topK);
      }
      return isList(image) ? found : found[0]!;
    } finally {
      for (const { features } of groups) features.dispose();
    }
  }

  /**
   * Logits (numClasses) of every image of a batch.
   * @throws OptionError OPTION_VALUE if the features are of another model, or lack the hidden states of
   *   `layers`
   */
  async logits(features: Features): Promise<Float32Array<ArrayBuffer>[]> {
    const { embedDim, depth } = this.#model.config;
    if (features.embedDim !== embedDim || features.depth !== depth) {
      throw new OptionError(
        'OPTION_VALUE',
        `classifier: expected features of ${depth} blocks and ${embedDim} channels, found ${features.depth} and ${features.embedDim}. Compute them with the classifier's model.`,
      );
    }
    const layers = await features.getIntermediateLayers(this.blocks, { returnClassToken: true });
    const count = features.rows * features.cols;
    const [patches] = layers.at(-1)!;
    return Array.from({ length: features.batch }, (_, image) => {
      const input = new Float64Array(this.#head.inFeatures);
      layers.forEach(([, cls], i) =>
        input.set(cls.subarray(image * embedDim, (image + 1) * embedDim), i * embedDim),
      );
      const mean = input.subarray(layers.length * embedDim);
      for (let i = 0; i < count * embedDim; i++)
        mean[i % embedDim]! += patches[image * count * embedDim + i]! / count;
      return this.#logits(input);
    });
  }

  #logits(input: Float64Array): Float32Array<ArrayBuffer> {
    const { weight, bias, numClasses, inFeatures } = this.#head;
    const out = new Float32Array(numClasses);
    for (let index = 0; index < numClasses; index++) {
      let sum = bias[index]!;
      const row = index * inFeatures;
      for (let i = 0; i < inFeatures; i++) sum += weight[row + i]! * input[i]!;
      out[index] = sum;
    }
    return out;
  }

  #likeliest(logits: Float32Array, topK: number): Classification[] {
    const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
    const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]!);
    return order.slice(0, topK).map((index) => ({
      label: this.labels[index]!,
      index,
      score: Math.exp(logits[index]! - most) / total,
      logit: logits[index]!,
    }));
  }
}

const isList = (image: ImageSource | readonly ImageSource[]): image is readonly ImageSource[] =>
  Array.isArray(image);

/** @throws ConfigError CONFIG_FIELD if they are not one for each class */
function labelList(labels: ClassLabels | undefined, numClasses: number): readonly string[] {
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
