/** From a checkpoint to everything that a model consists of: weights on the GPU, kernels compiled and tried. */
import { choosePrecision, type Precision } from './checkpoint/precision.js';
import { watchForHead, type LinearHead } from './checkpoint/head.js';
import { readAll } from './checkpoint/sources.js';
import type { TensorStream } from './checkpoint/tensorStream.js';
import type { Weights } from './checkpoint/weightMemory.js';
import { loadWeights } from './checkpoint/weights.js';
import { ConfigError } from './errors.js';
import { acquireGpu, type Gpu } from './gpu/device.js';
import type { Target } from './gpu/lowering.js';
import { Program } from './gpu/program.js';
import { Preprocessor } from './image/preprocess.js';
import { inferConfig, parseConfig, type DINOv2Config, type PosEmbedConvention } from './model/config.js';
import { parameters } from './model/parameters.js';
import { buildForward } from './model/vit.js';
import type { LoadOptions, LoadProgress } from './options.js';
import type { ClassLabels } from './tasks/classifier.js';

/** A checkpoint about to be read. Where it brings no configuration, its tensors' shapes give it. */
export interface Checkpoint {
  readonly config?: DINOv2Config | undefined;
  /** Names of a classifier's classes. */
  readonly labels?: ClassLabels | undefined;
  readonly stream: TensorStream;
}

export type ByteProgress = (progress: Pick<LoadProgress, 'loadedBytes' | 'totalBytes'>) => void;

/** All of a model; whoever holds it frees it: weights, preprocessor, and the device with `gpu.release()`. */
export interface LoadedModel {
  readonly gpu: Gpu;
  readonly config: DINOv2Config;
  readonly precision: Precision;
  readonly target: Target;
  readonly weights: Weights;
  readonly preprocessor: Preprocessor;
  readonly head: NamedHead | undefined;
}

/** A checkpoint's classifier, and the names of its classes where they are known. */
export interface NamedHead {
  readonly head: LinearHead;
  readonly labels: ClassLabels | undefined;
}

/** Hugging Face writes no names where a model has none of its own: those of another number of classes are its config's defaults. */
function named(head: LinearHead | undefined, labels: ClassLabels = {}): NamedHead | undefined {
  const entries = Object.entries(labels);
  const belong = entries.length === head?.numClasses && entries.every(([, label], i) => typeof label === 'string' && String(i) in labels);
  return head && { head, labels: belong ? labels : undefined };
}

/**
 * Loads what `open` opens. On any failure, an abort included, nothing is left behind on the GPU.
 * @throws SourceError, SafetensorsError, ConfigError, CheckpointError, DeviceError; or the signal's reason
 */
export async function loadModel(open: (onProgress: ByteProgress) => Promise<Checkpoint>, options: LoadOptions): Promise<LoadedModel> {
  const { dtype = 'fp32', selfTest = true, posEmbed, signal, onProgress } = options;
  signal?.throwIfAborted();
  let progress: LoadProgress = { loadedBytes: 0, totalBytes: undefined, loadedTensors: 0, totalTensors: 0 };
  const report = (news: Partial<LoadProgress>): void => {
    progress = { ...progress, ...news };
    onProgress?.(progress);
  };
  const gpu = await acquireGpu(options.device); // first: where there is no GPU, nothing is downloaded
  let stream: TensorStream | undefined;
  const choosing = choosePrecision(gpu, dtype, selfTest);
  choosing.catch(() => undefined); // it is told where it is awaited
  try {
    const checkpoint = await open(report);
    stream = checkpoint.stream;
    const { header } = stream;
    const found = checkpoint.config ?? inferConfig(header);
    if (!found) {
      const names = [...header.tensors.keys()].slice(0, 3).join(', ') || 'no tensor';
      throw new ConfigError('CONFIG_UNSUPPORTED', `The file's tensors are not a DINOv2's: expected names such as embeddings.cls_token or cls_token, found ${names}. Give a DINOv2 checkpoint, or its config.json with it.`);
    }
    const config = posEmbed === undefined ? found : { ...found, posEmbed: checkedPosEmbed(posEmbed) };
    const precision = await choosing;
    const target: Target = { software: gpu.software, weights: precision.storage };
    // Kernels compile while the weights arrive: no kernel depends on the input's size, so the smallest forward names them all.
    const compiling = Program.warmUp(gpu, buildForward(config, { batch: 1, rows: 1, cols: 1 }).graph, target);
    const preprocessing = Preprocessor.create(gpu, { patchSize: config.patchSize });
    const { stream: tensors, head } = watchForHead(stream, [2 * config.embedDim, ...(config.depth < 4 ? [] : [5 * config.embedDim])]);
    const loading = loadWeights(gpu, tensors, parameters(config), { storage: target.weights, signal, onTensor: report });
    const all = Promise.all([loading, preprocessing, compiling]).then((made) => {
      signal?.throwIfAborted();
      return made;
    });
    const [weights, preprocessor] = await all.catch(async (error: unknown) => {
      // One of the three failed: what the others make is not left behind.
      await checkpoint.stream.cancel(error).catch(() => undefined);
      const [late, unused] = await Promise.allSettled([loading, preprocessing]);
      if (late.status === 'fulfilled') for (const buffer of late.value.buffers.values()) gpu.memory.destroy(buffer);
      if (unused.status === 'fulfilled') unused.value.dispose();
      throw error;
    });
    return { gpu, config, precision, target, weights, preprocessor, head: named(head(), checkpoint.labels) };
  } catch (error) {
    await stream?.cancel(error).catch(() => undefined); // the first error is the one to tell
    await choosing.catch(() => undefined); // its buffers go with it
    gpu.release();
    throw error;
  }
}

function checkedPosEmbed(posEmbed: PosEmbedConvention): PosEmbedConvention {
  if (['plain', 'antialias', 'offset'].includes(posEmbed)) return posEmbed;
  throw new ConfigError('CONFIG_FIELD', `posEmbed: expected 'plain', 'antialias' or 'offset', found ${JSON.stringify(posEmbed)}.`);
}

export function parseJson(bytes: Uint8Array): unknown {
  const text = new TextDecoder().decode(bytes);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ConfigError('CONFIG_JSON', `config.json: expected JSON, found ${JSON.stringify(text.slice(0, 40))}. Give the config.json that lies beside the weights on the hub.`, { cause });
  }
}

export type Described = Pick<Checkpoint, 'config' | 'labels'>;

export async function readConfig(config: object | Blob | string | undefined, signal: AbortSignal | undefined): Promise<Described | undefined> {
  if (config === undefined) return undefined;
  if (typeof config === 'string') return describedBy(parseJson(new TextEncoder().encode(config)));
  if (config instanceof Blob) return describedBy(parseJson(await readAll(config, { signal })));
  return describedBy(config);
}

/** What config.json says of a model. */
export function describedBy(json: unknown): Described {
  const config = parseConfig(json);
  const { id2label } = json as { readonly id2label?: unknown };
  return typeof id2label === 'object' && id2label !== null ? { config, labels: id2label as Readonly<Record<string, string>> } : { config };
}
