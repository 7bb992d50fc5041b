/**
 * Loads models from the hub, from files, or with synthetic weights. `DINOv2` imports this module when a load
 * begins.
 */
import { DEFAULT_PREPROCESSING } from '../image/preprocessing.js';
import { isUrl, type ByteSource } from '../io/sources.js';
import type { DINOv2Config } from '../model/config.js';
import { parameters } from '../model/parameters.js';
import type { LoadOptions, ModelFiles, PretrainedOptions } from '../options.js';
import { host } from '../platform/host.js';
import { loadPart } from '../platform/part.js';
import { openCheckpoint } from '../safetensors/checkpoint.js';
import { huggingFaceTensors } from '../weights/huggingFace.js';
import type { ReloadableModel } from './build.js';
import { describe, readJson } from './configFile.js';
import { loadModel } from './load.js';
import { givenPreprocessing, PREPROCESSOR, preprocessingOf } from './preprocessorFile.js';
import { pretrained } from './pretrained.js';
import type { CheckpointSource } from './source.js';

/** Implements `DINOv2.fromPretrained`. */
export async function loadPretrained(id: string | URL, options: PretrainedOptions): Promise<ReloadableModel> {
  const preprocessing = await givenPreprocessing(options.preprocessor);
  const load = async (where: string | URL, given: PretrainedOptions): Promise<ReloadableModel> =>
    loadModel(await pretrained(where, given, preprocessing), given);
  return host.pretrained ? host.pretrained(id, options, load) : load(id, options);
}

/** Implements `DINOv2.fromFiles`. */
export function loadFiles(
  { config, preprocessor, weights }: ModelFiles,
  options: LoadOptions,
): Promise<ReloadableModel> {
  const sources = Array.isArray(weights) ? (weights as readonly ByteSource[]) : [weights as ByteSource];
  const open: CheckpointSource['open'] = async ({ signal, onProgress, reload, whole }) => {
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
  const once = [config, preprocessor, ...sources].some((file) => file instanceof ReadableStream);
  return loadModel({ open, local, once }, options);
}

/** Implements `DINOv2.synthetic`. */
export async function loadSynthetic(config: DINOv2Config, options: LoadOptions): Promise<ReloadableModel> {
  const { syntheticStream } = await loadPart(import('../weights/synthetic.js'));
  const tensors = huggingFaceTensors(parameters(config));
  const open: CheckpointSource['open'] = async ({ signal, onProgress }) => ({
    config,
    stream: syntheticStream(tensors, { signal, onProgress }),
  });
  return loadModel({ open, local: true }, options);
}
