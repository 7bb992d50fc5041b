/** Linear classifiers on DINOv2's features: what an image shows, by class. */
import { readHead, type LinearHead } from '../weights/head.js';
import type { ByteSource } from '../io/sources.js';
import { openTensors } from '../safetensors/tensorStream.js';
import { CheckpointError, OptionError } from '../errors.js';
import type { PixelOptions } from '../image/preprocess.js';
import type { ImageSource } from '../image/source.js';
import type { DINOv2Config } from '../model/config.js';
import type { Features } from '../model/features.js';
import { checkOptions } from '../optionNames.js';
import { isBatch } from '../optionObject.js';
import { labelList, labelsOfMeta, type ClassLabels, isProblemType, type ProblemType } from './classLabels.js';

export { type ClassLabels };

/** What a classifier needs of a model: `DINOv2` has it. */
export interface ClassifierModel {
  readonly config: DINOv2Config;
  featuresBySize(
    images: readonly ImageSource[],
    options?: PixelOptions & { readonly layers?: readonly number[] | undefined },
  ): Promise<readonly { readonly indices: readonly number[]; readonly features: Features }[]>;
}

/** How a score follows from logits: `none` is the logit itself. */
export type ScoreFunction = 'softmax' | 'sigmoid' | 'none';

/** A classifier of its own. */
export interface ClassifierFiles {
  /**
   * A safetensors file with `linear.weight` and `linear.bias` (or `linear_head.…`, `classifier.…`, or the
   * bare names).
   */
  readonly weights: ByteSource;
  /**
   * Default: ImageNet's own, in the words of Meta's models on the hub, for a head of 1,000 classes that is named
   * as Meta's published ones are (`linear_head.…`, or the bare names); for others `LABEL_0`, `LABEL_1`, …
   */
  readonly labels?: ClassLabels | undefined;
  /**
   * What the classifier was trained for; it decides what a score is. Default: one class of several; with a
   * single output, yes or no.
   */
  readonly problemType?: ProblemType | undefined;
}

export interface ClassifyOptions extends PixelOptions {
  /** How many classes to give, those of the highest scores. Default: 5. */
  readonly topK?: number | undefined;
}

/** What a classifier says of an image for one class. */
export interface Classification {
  readonly label: string;
  /** Of the class, from 0. */
  readonly index: number;
  /**
   * What the classifier's `scoreFunction` makes of the logit. `softmax`: 0 to 1, all classes together 1.
   * `sigmoid`: 0 to 1, each class for itself. `none`: the logit, which is a regression's value.
   */
  readonly score: number;
  readonly logit: number;
}

/**
 * A linear classifier on DINOv2's features, all after the final norm. Its input is one of these:
 *
 * - concat(cls, mean of the patches): Hugging Face's `Dinov2ForImageClassification` and facebookresearch's
 *   1-layer head (dinov2/hub/classifiers.py)
 * - concat(cls of the last four blocks, mean of the patches of the last): facebookresearch's 4-layer head
 * - cls: `head` of a timm model
 *
 * It owns nothing on the GPU: logits are float64 sums on the CPU, a few million products.
 */
export class ImageClassifier {
  /** Names of the classes, by index. */
  readonly labels: readonly string[];
  readonly numClasses: number;
  /** Blocks that it reads: 1 or 4. */
  readonly blocks: 1 | 4;
  /** As config.json or the option says; undefined where neither does. */
  readonly problemType: ProblemType | undefined;
  /**
   * How scores are made, as transformers' image-classification pipeline does it: `sigmoid` for several labels
   * at a time (`multi_label_classification`) and for a single class, else `softmax`. For a `regression` it is
   * `none`.
   */
  readonly scoreFunction: ScoreFunction;
  readonly #model: ClassifierModel;
  readonly #head: LinearHead;

  /** Use `model.classifier` or `ImageClassifier.fromFiles`. */
  constructor(
    model: ClassifierModel,
    head: LinearHead,
    labels: ClassLabels | undefined,
    problemType?: ProblemType,
  ) {
    const { embedDim, depth } = model.config;
    const onToken = head.module === 'head' && head.inFeatures === embedDim;
    const blocks = onToken ? 1 : head.inFeatures / embedDim - 1;
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
    this.problemType = problemType;
    this.scoreFunction =
      problemType === 'regression'
        ? 'none'
        : problemType === 'multi_label_classification' || head.numClasses === 1
          ? 'sigmoid'
          : 'softmax';
  }

  /**
   * A classifier from a file of its own, such as facebookresearch's heads saved as safetensors.
   * @throws CheckpointError if it holds no linear classifier for this model; ConfigError CONFIG_FIELD if the
   *   labels are not as many as the classes; OptionError if `problemType` is none; SourceError,
   *   SafetensorsError
   */
  static async fromFiles(
    model: ClassifierModel,
    files: ClassifierFiles,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<ImageClassifier> {
    const { weights, labels, problemType } = checkOptions('ImageClassifier.fromFiles', files ?? null);
    checkOptions('ImageClassifier.fromFiles', options);
    if (problemType !== undefined && !isProblemType(problemType))
      throw new OptionError(
        'OPTION_VALUE',
        `problemType: expected 'single_label_classification', 'multi_label_classification' or 'regression', found ${JSON.stringify(problemType)}.`,
      );
    const head = await readHead(await openTensors(weights, options));
    return new ImageClassifier(model, head, labels ?? (await labelsOfMeta(head)), problemType);
  }

  /** What `logits` needs to be kept of a forward: pass it to `features()` or `forward()`. */
  get layers(): readonly number[] {
    const { depth } = this.#model.config;
    return this.blocks === 1 ? [] : [depth - 3, depth - 2, depth - 1];
  }

  /**
   * The classes of the highest scores of an image, the highest first; of an array of images, an array of such
   * lists, in its order. With `resize: 'fit'` they may differ in size. Errors as `features()`; CheckpointError
   * CHECKPOINT_NOT_FINITE if a logit is beyond float32.
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
    const groups = await this.#model.featuresBySize(isBatch(image) ? image : [image], {
      ...others,
      layers: this.layers,
    });
    try {
      const found: Classification[][] = [];
      for (const { indices, features } of groups) {
        for (const [i, logits] of (await this.logits(features)).entries())
          found[indices[i]!] = this.#highest(logits, topK);
      }
      return isBatch(image) ? found : found[0]!;
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
      const mean = input.subarray(layers.length * embedDim); // empty for a head on the class token
      for (let i = 0; mean.length > 0 && i < count * embedDim; i++)
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

  #highest(logits: Float32Array, topK: number): Classification[] {
    const scores = this.#scores(logits);
    // A score never falls where a logit rises. Logits tell classes apart whose scores are both rounded to 1.
    const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]!);
    return order.slice(0, topK).map((index) => ({
      label: this.labels[index]!,
      index,
      score: scores[index]!,
      logit: logits[index]!,
    }));
  }

  #scores(logits: Float32Array): Float64Array {
    const wrong = logits.findIndex((logit) => !Number.isFinite(logit));
    if (wrong >= 0)
      throw new CheckpointError(
        'CHECKPOINT_NOT_FINITE',
        `classifier: expected finite logits, found ${logits[wrong]} for class ${wrong}. The weights of the model or of the classifier are too large for float32; get the files again.`,
      );
    const values = Float64Array.from(logits);
    if (this.scoreFunction === 'none') return values;
    if (this.scoreFunction === 'sigmoid') return values.map((logit) => 1 / (1 + Math.exp(-logit)));
    const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const total = values.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
    return values.map((logit) => Math.exp(logit - most) / total);
  }
}
