/** Classifiers that compute in the worker. */
import type { ImageSource } from '../image/source.js';
import type { Classification, ClassifierFiles, ClassifyOptions, ScoreFunction } from '../tasks/classifier.js';
import type { ProblemType } from '../tasks/classLabels.js';
import { expectOptions } from '../optionObject.js';
import type { Connection } from './connection.js';
import { placeOf, type Features } from './features.js';
import { baseUrl, sendImages } from './images.js';
import type { DINOv2 } from './model.js';
import { modelPlaceOf } from './places.js';
import type { ClassifierState } from './protocol.js';
import { PageStreams, toSend } from './requests.js';
import { abandoned, disposalOfClassifier } from './unwanted.js';

/** A model that is still asked for by its classifier is not forgotten. */
const models = new WeakMap<ImageClassifier, DINOv2>();

/**
 * What `ImageClassifier` of 'dinov2-webgpu' is, with the work in the worker, which it does not keep alive.
 */
export class ImageClassifier {
  readonly labels: readonly string[];
  readonly numClasses: number;
  readonly blocks: 1 | 4;
  readonly problemType: ProblemType | undefined;
  readonly scoreFunction: ScoreFunction;
  readonly layers: readonly number[];
  readonly #connection: Connection;
  readonly #id: number;

  /** Use `model.classifier` or `ImageClassifier.fromFiles`. */
  constructor(connection: Connection, state: ClassifierState, model: DINOv2) {
    const { classifier, labels, numClasses, blocks, problemType, scoreFunction, layers } = state;
    this.#connection = connection;
    this.#id = classifier;
    this.labels = labels;
    this.numClasses = numClasses;
    this.blocks = blocks;
    this.problemType = problemType;
    this.scoreFunction = scoreFunction;
    this.layers = layers;
    models.set(this, model);
    abandoned.register(this, () => connection.tell(disposalOfClassifier(classifier)));
  }

  static async fromFiles(
    model: DINOv2,
    files: ClassifierFiles,
    given: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<ImageClassifier> {
    expectOptions('ImageClassifier.fromFiles', files ?? null);
    const { options, signal } = toSend('ImageClassifier.fromFiles', given);
    const { weights, ...others } = files;
    const { connection, id } = modelPlaceOf(model);
    const streams = new PageStreams();
    const request = {
      model: id,
      weights: streams.source(weights),
      files: others,
      options,
      base: baseUrl(),
    };
    try {
      return new ImageClassifier(
        connection,
        await connection.call('openClassifier', request, {
          signal,
          services: streams.services(undefined),
          holding: [model],
        }),
        model,
      );
    } catch (error) {
      streams.end(error);
      throw error;
    }
  }

  async classify(image: readonly ImageSource[], options?: ClassifyOptions): Promise<Classification[][]>;
  async classify(image: ImageSource, options?: ClassifyOptions): Promise<Classification[]>;
  async classify(
    image: ImageSource | readonly ImageSource[],
    given: ClassifyOptions = {},
  ): Promise<Classification[] | Classification[][]> {
    const { options, signal } = toSend('classify', given);
    const { value: images, transfer } = await sendImages(image);
    return this.#connection.call(
      'classify',
      { classifier: this.#id, images, options },
      { signal, transfer, holding: [this] },
    );
  }

  async logits(features: Features): Promise<Float32Array<ArrayBuffer>[]> {
    return this.#connection.call(
      'logits',
      { classifier: this.#id, features: placeOf('classifier', features).id },
      { holding: [this, features] },
    );
  }
}
