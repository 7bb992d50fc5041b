/** Classifiers that compute in the worker. */
import type { ClassifierFiles, ImageClassifier as PageClassifier } from '../tasks/classifier.js';
import { Call, expectPlace, files, handles, images, options } from './call.js';
import type { Features } from './features.js';
import { Handle, keepOwner } from './handles.js';
import type { DINOv2 } from './model.js';
import { classOf, remote, type RemoteClass } from './remote.js';

interface ClassifierApi extends Omit<PageClassifier, 'logits'> {
  /** Logits (numClasses) of every image of a batch. Errors as in 'dinov2-webgpu'. */
  logits(features: Features): Promise<Float32Array<ArrayBuffer>[]>;
}

const RemoteClassifier: RemoteClass<ClassifierApi> = remote<ClassifierApi>(Handle, {
  classify: [images, options],
  logits: [handles('Features')],
});

/**
 * What `ImageClassifier` of 'dinov2-webgpu' is, with the work in the worker, which it does not keep alive. Use
 * `model.classifier` or `ImageClassifier.fromFiles`.
 */
export class ImageClassifier extends RemoteClassifier {
  /** As in 'dinov2-webgpu'. @throws what that throws; OptionError OPTION_VALUE for a model of another entry */
  static async fromFiles(
    model: DINOv2,
    given: ClassifierFiles,
    settings: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<ImageClassifier> {
    const where = 'ImageClassifier.fromFiles';
    const { connection } = expectPlace(where, 'DINOv2', model);
    const packs = [handles('DINOv2'), files, options];
    const call = new Call(where, connection);
    const made = await call.send(classOf('ImageClassifier'), 'fromFiles', packs, [model, given, settings]);
    keepOwner(made as ImageClassifier, model);
    return made as ImageClassifier;
  }
}
