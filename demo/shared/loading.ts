/** Loads the model of a choice: trained weights from the Hub, a file of the visitor, or synthetic weights. */
import type { LoadOptions, LoadProgress, ModelFiles, ModelSize } from '../../src/index.js';
import { hubId, type Loaded, type ModelChoice } from './modelChoice.js';

/**
 * The library's class `DINOv2`: the class that runs models in the page, or the class that runs them in a
 * worker.
 */
export interface ModelClass<Model> {
  fromPretrained(id: string, options: Options): Promise<Model>;
  fromFiles(files: ModelFiles, options: Options): Promise<Model>;
  synthetic(size: ModelSize, options: Options & { readonly registers?: boolean }): Promise<Model>;
}
type Options = Pick<LoadOptions, 'dtype' | 'signal' | 'onProgress'>;

export async function loadModel<Model extends { dispose(): void }>(
  from: ModelClass<Model>,
  choice: ModelChoice,
  signal: AbortSignal,
  onProgress: (progress: LoadProgress) => void,
): Promise<Loaded<Model>> {
  const startMs = performance.now();
  const model = await open(from, choice, { dtype: choice.dtype, signal, onProgress });
  if (signal.aborted) {
    model.dispose(); // the load succeeded just before it was aborted: nobody uses its model
    throw signal.reason;
  }
  return { model, choice, loadMs: performance.now() - startMs };
}

function open<Model>(from: ModelClass<Model>, choice: ModelChoice, options: Options): Promise<Model> {
  switch (choice.weights) {
    case 'hub':
      return from.fromPretrained(hubId(choice), options);
    case 'file':
      return from.fromFiles(
        { weights: choice.file!, config: choice.config, preprocessor: choice.preprocessor },
        options,
      );
    case 'synthetic':
      return from.synthetic(choice.size, { ...options, registers: choice.registers });
  }
}
