/** Linear classifiers on DINOv2's features. */
import type { LinearHead } from '../weights/head.js';
import type { ByteSource } from '../io/sources.js';
import { CheckpointError, DeviceError, OptionError } from '../errors.js';
import type { PixelOptions } from '../image/preprocess.js';
import type { ImageSource } from '../image/source.js';
import type { DINOv2Config } from '../model/config.js';
import { checkOptions } from '../optionNames.js';
import { isBatch } from '../optionObject.js';
import { loadPart } from '../platform/part.js';
import type { PatchFeatures } from './patchMatrix.js';
import { labelList, labelsOfMeta, type ClassLabels, isProblemType, type ProblemType } from './classLabels.js';
import { show } from '../platform/json.js';

export { type ClassLabels };

/** The part of features that a classifier reads. `Features` implements it. */
export interface ClassifierFeatures extends PatchFeatures {
  /** Number of blocks of the model. */
  readonly depth: number;
  /** Reads the patch tokens and the cls tokens of several blocks. */
  getIntermediateLayers(
    blocks: number | readonly number[],
    options: { readonly returnClassToken: true },
  ): Promise<(readonly [patchTokens: Float32Array<ArrayBuffer>, clsToken: Float32Array<ArrayBuffer>])[]>;
  /** Frees the GPU memory. */
  dispose(): void;
}

/** The part of a model that a classifier uses. `DINOv2` implements it. */
export interface ClassifierModel {
  /** The model's configuration. */
  readonly config: DINOv2Config;
  /** Computes features, with one batch for each image size. `layers` lists the hidden states to store. */
  featuresBySize(
    images: readonly ImageSource[],
    options?: PixelOptions & { readonly layers?: readonly number[] | undefined },
  ): Promise<readonly { readonly indices: readonly number[]; readonly features: ClassifierFeatures }[]>;
}

/** The function from logits to scores. `none`: the score is the logit. */
export type ScoreFunction = 'softmax' | 'sigmoid' | 'none';

/** The input of `ImageClassifier.fromFiles`. */
export interface ClassifierFiles {
  /**
   * A safetensors file with the tensors `linear.weight` and `linear.bias` (or `linear_head.…`,
   * `classifier.…`, or bare `weight` and `bias`).
   */
  readonly weights: ByteSource;
  /**
   * Class names. A head of 1,000 classes whose tensors are named as in Meta's published heads
   * (`linear_head.…`, or bare `weight` and `bias`) has ImageNet's names by default. Default for any other
   * head: `LABEL_0`, `LABEL_1`, …
   */
  readonly labels?: ClassLabels | undefined;
  /**
   * The task that the classifier was trained for, which determines the score function. Default:
   * classification with a single label per image. The score function is then softmax, or sigmoid for a
   * classifier with only one output.
   */
  readonly problemType?: ProblemType | undefined;
}

/** Options of `ImageClassifier.classify`. */
export interface ClassifyOptions extends PixelOptions {
  /** Number of classes to return. Returns the classes with the highest scores. Default: 5. */
  readonly topK?: number | undefined;
}

/** Result of a classifier for one image and one class. */
export interface Classification {
  /** Name of the class. */
  readonly label: string;
  /** Index of the class, from 0. */
  readonly index: number;
  /**
   * The score, by the classifier's `scoreFunction`. `softmax`: 0 to 1, with a sum of 1 over all classes.
   * `sigmoid`: 0 to 1, independent of other classes. `none`: the logit, which is the value of a regression.
   */
  readonly score: number;
  /** The classifier's output before the score function. */
  readonly logit: number;
}

/**
 * A linear classifier on DINOv2's features. Its input is one of these vectors, after the final norm:
 *
 * - concat(cls, mean of the patches): Hugging Face's `Dinov2ForImageClassification` and facebookresearch's
 *   1-layer head (dinov2/hub/classifiers.py)
 * - concat(cls of the last four blocks, mean of the last block's patches): facebookresearch's 4-layer head
 * - cls: `head` of a timm model
 *
 * A classifier owns no GPU memory. The CPU computes the logits as float64 sums, which takes a few million
 * multiplications.
 */
export class ImageClassifier {
  /** Class names, by index. */
  readonly labels: readonly string[];
  /** Number of classes. */
  readonly numClasses: number;
  /** Number of last blocks whose output the classifier reads: 1 or 4. */
  readonly blocks: 1 | 4;
  /**
   * The task that the classifier was trained for, from config.json or the option `problemType`. Undefined if
   * neither states the task.
   */
  readonly problemType: ProblemType | undefined;
  /**
   * The function from logits to scores. As in transformers' image-classification pipeline: `sigmoid` for
   * `multi_label_classification` and for a single class, else `softmax`. Unlike in the pipeline: `none` for
   * `regression`.
   */
  readonly scoreFunction: ScoreFunction;
  readonly #model: ClassifierModel;
  readonly #head: LinearHead;

  /**
   * Called by `model.classifier` and `ImageClassifier.fromFiles`.
   * @internal
   */
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
        `classifier: expected ${2 * embedDim} features (1 layer) or ${5 * embedDim} (4 layers) for a model of embed_dim ${embedDim}, found ${head.inFeatures}. Use a head that was trained on this model.`,
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
   * Loads a classifier from its own file, such as a facebookresearch head saved as safetensors.
   * @throws CheckpointError, if the file contains no linear classifier for this model; ConfigError
   *   CONFIG_FIELD, if the number of labels differs from the number of classes; OptionError, if `problemType`
   *   is invalid; SourceError; SafetensorsError
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
    const { readHeadFile } = await loadPart(import('../weights/headFile.js'));
    const head = await readHeadFile(weights, options);
    return new ImageClassifier(model, head, labels ?? (await labelsOfMeta(head)), problemType);
  }

  /**
   * The hidden states that `logits` reads. Pass this list as the option `layers` to `features()` or
   * `forward()`.
   */
  get layers(): readonly number[] {
    const { depth } = this.#model.config;
    return this.blocks === 1 ? [] : [depth - 3, depth - 2, depth - 1];
  }

  /**
   * Classifies images. For one image, returns the classes with the highest scores, the highest first. For an
   * array of images, returns one such list per image, in order; images may differ in size after the
   * resize.
   * @throws as `DINOv2.features`; CheckpointError CHECKPOINT_NOT_FINITE, if a logit overflows float32
   * @example
   * ```js
   * const model = await DINOv2.fromPretrained('facebook/dinov2-small-imagenet1k-1-layer');
   * const [{ label, score }] = await model.classifier.classify(file, { topK: 1 });
   * ```
   */
  async classify(image: readonly ImageSource[], options?: ClassifyOptions): Promise<Classification[][]>;
  async classify(image: ImageSource, options?: ClassifyOptions): Promise<Classification[]>;
  async classify(
    image: ImageSource | readonly ImageSource[],
    options: ClassifyOptions = {},
  ): Promise<Classification[] | Classification[][]> {
    const { topK = 5, ...others } = checkOptions('classify', options);
    if (!Number.isInteger(topK) || topK < 1)
      throw new OptionError('OPTION_VALUE', `topK: expected a whole number from 1, found ${show(topK)}.`);
    for (let repeated = false; ; repeated = true) {
      const groups = await this.#model.featuresBySize(isBatch(image) ? image : [image], {
        ...others,
        layers: this.layers,
      });
      try {
        const results: Classification[][] = [];
        for (const { indices, features } of groups) {
          for (const [i, logits] of (await this.logits(features)).entries())
            results[indices[i]!] = this.#highest(logits, topK);
        }
        return isBatch(image) ? results : results[0]!;
      } catch (error) {
        // The device was lost after the features were computed.
        if (repeated || !(error instanceof DeviceError && error.code === 'DEVICE_LOST')) throw error;
      } finally {
        for (const { features } of groups) features.dispose();
      }
    }
  }

  /**
   * Computes the logits (numClasses) of every image of a batch.
   * @throws OptionError OPTION_VALUE, if the features come from a different model or lack the hidden states
   *   in `layers`
   */
  async logits(features: ClassifierFeatures): Promise<Float32Array<ArrayBuffer>[]> {
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
    // Sorted by logit, not by score: several scores may round to the same value, such as 1.
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
        `classifier: expected finite logits, found ${logits[wrong]} for class ${wrong}. The weights of the model or of the classifier are too large for float32. Download the files again.`,
      );
    const values = Float64Array.from(logits);
    if (this.scoreFunction === 'none') return values;
    if (this.scoreFunction === 'sigmoid') return values.map((logit) => 1 / (1 + Math.exp(-logit)));
    const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const total = values.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
    return values.map((logit) => Math.exp(logit - most) / total);
  }
}
