/**
 * Loads models from the hub, from files, or with synthetic weights. `DINOv2` imports this module when a load
 * begins.
 */
import { DEFAULT_PREPROCESSING } from '../image/preprocessing.js';
import { isUrl, type ByteSource } from '../io/sources.js';
import type { DINOv2Config } from '../model/config.js';
import { parameters } from '../model/parameters.js';
import type { LoadOptions, ModelFiles, PretrainedOptions } from '../options.js';
import { loadPart } from '../platform/part.js';
import { openCheckpoint } from '../safetensors/checkpoint.js';
import { huggingFaceTensors } from '../weights/huggingFace.js';
import type { LoadedModel } from './build.js';
import { describe, readJson } from './configFile.js';
import { loadModel } from './load.js';
import { givenPreprocessing, PREPROCESSOR, preprocessingOf } from './preprocessorFile.js';
import { pretrained } from './pretrained.js';
import type { CheckpointSource } from './source.js';

/** Implements `DINOv2.fromPretrained`. */
export async function loadPretrained(id: string | URL, options: PretrainedOptions): Promise<LoadedModel> {
  return loadModel(pretrained(id, options, await givenPreprocessing(options.preprocessor)), options);
}

/** Implements `DINOv2.fromFiles`. */
export function loadFiles(
  { config, preprocessor, weights }: ModelFiles,
  options: LoadOptions,
): Promise<LoadedModel> {
  const sources = Array.isArray(weights) ? (weights as readonly ByteSource[]) : [weights as ByteSource];
  const { signal } = options;
  const open: CheckpointSource['open'] = async ({ onProgress, reload, whole }) => {
    const json = config === undefined ? undefined : await readJson('config.json', config, signal);
    const file = preprocessor && { json: await readJson(PREPROCESSOR, preprocessor, signal) };
    const preprocessing =
      preprocessor === null ? DEFAULT_PREPROCESSING : await preprocessingOf(file || undefined, json);
    const described = json === undefined ? {} : await describe(json);
    const named = sources.map((source, i) => ({
      source,
      name: source instanceof Blob && 'name' in source ? String(source.name) : `file ${i + 1}`,
    }));
    return {
      ...described,
      preprocessing,
      stream: await openCheckpoint(named, { signal, onProgress, reload, whole }),
    };
  };
  const local = !sources.some((file) => (typeof file === 'string' || file instanceof URL) && isUrl(file));
  return loadModel({ open, local }, options);
}

/** Implements `DINOv2.synthetic`. */
export async function loadSynthetic(config: DINOv2Config, options: LoadOptions): Promise<LoadedModel> {
  const { syntheticStream } = await loadPart(import('../weights/synthetic.js'));
  const tensors = huggingFaceTensors(parameters(config));
  const { signal } = options;
  const open: CheckpointSource['open'] = async ({ onProgress }) => ({
    config,
    stream: syntheticStream(tensors, { signal, onProgress }),
  });
  return loadModel({ open, local: true }, options);
}
