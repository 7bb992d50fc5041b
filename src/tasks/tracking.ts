/**
 * Follows an object through the frames of a video by label propagation, the method with which the DINO paper
 * evaluates video object segmentation (Caron et al., arXiv 2104.14294, section 4.2.2). The first frame and the
 * last frames are the context. Each patch of a new frame takes the labels of the context patches that are most
 * similar to it. No network is trained for the object.
 */
import type { Gpu } from '../gpu/device.js';
import { nearestContext, propagateLabels, unitPatches } from '../gpu/kernels/trackKernels.js';
import { OwnedBuffers } from '../gpu/lease.js';
import type { CompiledKernel } from '../gpu/pipelines.js';
import { SUBMIT_MS } from '../gpu/submits.js';
import type { Task } from '../gpu/task.js';
import { F32_BYTES } from '../graph/constants.js';
import { checkOptions } from '../optionNames.js';
import type { ClickableFeatures } from './clickedPatch.js';
import { GpuPatchMap } from './gpuPatchMap.js';
import { wrong } from './patchMap.js';
import type { PatchFeatures } from './patchMatrix.js';
import {
  checkSize,
  labelsOf,
  settingsOf,
  type TrackerOptions,
  type TrackerSettings,
} from './trackingOptions.js';

export type { LabelMap, TrackerMask, TrackerOptions, TrackerPick } from './trackingOptions.js';

/** Options of `PatchTracker.next`. */
export interface TrackerNextOptions {
  /** Index of the frame in the batch. Default: 0. */
  readonly batchIndex?: number | undefined;
  /** Aborts the call: the promise rejects with `signal.reason`, and the frame is left out. */
  readonly signal?: AbortSignal | undefined;
}

/** Bytes of a candidate: its similarity and the index of its patch. */
const CANDIDATE_BYTES = 8;

/** The compiled kernels of a tracker. */
type Kernels = readonly [unit: CompiledKernel, nearest: CompiledKernel, propagate: CompiledKernel];

/** The buffers of a tracker. */
interface TrackerBuffers {
  /** Tokens of length 1: (slots, patches, embedDim). */
  readonly context: GPUBuffer;
  /** (slots, patches) */
  readonly labels: GPUBuffer;
  /** The labels of the newest frame: (patches). */
  readonly newLabels: GPUBuffer;
  /** (context frames, patches, topK) */
  readonly candidates: GPUBuffer;
}

// Frees the buffers of trackers that are garbage-collected without dispose().
const abandoned = new FinalizationRegistry<OwnedBuffers>((owned) => owned.dispose());

/**
 * Follows an object through the frames of a video. The tracker keeps copies of the patches of the first frame
 * and of the last `contextFrames` frames on the GPU; the features themselves can be disposed of. All frames
 * must have the same number of patches and come from the same model. Nothing is read back from the GPU.
 * `dispose()` frees the GPU memory.
 * @example
 * ```js
 * const tracker = await PatchTracker.start(firstFeatures, { mask: { row: 8, col: 9, rows: 4, cols: 5 } });
 * const map = await tracker.next(nextFeatures); // a GpuPatchMap: 0 for a patch that is not the object, else 0.5 to 1
 * const { values } = await map.read();
 * const isLost = values.every((label) => label === 0);
 * map.dispose();
 * tracker.dispose();
 * ```
 */
export class PatchTracker {
  /** Number of patch rows of every frame. */
  readonly rows: number;
  /** Number of patch columns of every frame. */
  readonly cols: number;
  /** Length of a token's vector. */
  readonly embedDim: number;
  readonly #gpu: Gpu;
  readonly #settings: TrackerSettings;
  readonly #kernels: Kernels;
  readonly #buffers: TrackerBuffers;
  readonly #lease: OwnedBuffers;
  /** Number of frames after the first one. */
  #frames = 0;
  /** Settles when all earlier calls of `next` have settled. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(
    { gpu, rows, cols, embedDim }: PatchFeatures,
    settings: TrackerSettings,
    kernels: Kernels,
    buffers: TrackerBuffers,
  ) {
    this.rows = rows;
    this.cols = cols;
    this.embedDim = embedDim;
    this.#gpu = gpu;
    this.#settings = settings;
    this.#kernels = kernels;
    this.#buffers = buffers;
    gpu.retain();
    this.#lease = new OwnedBuffers(() => {
      for (const each of Object.values(buffers) as GPUBuffer[]) gpu.memory.destroy(each);
      gpu.release();
    }, 'This tracker is disposed. Start a new one.');
    abandoned.register(this, this.#lease, this);
  }

  /**
   * Starts a tracker with the first frame and the object in it.
   * @throws OptionError OPTION_VALUE, if `mask` is missing, empty or of a different size than the frame, or an
   *   option is out of range; DeviceError DEVICE_LIMIT, if the device allows no buffer for the patches of
   *   2 + `contextFrames` frames; DeviceError, if the GPU fails
   */
  static async start(features: ClickableFeatures, options: TrackerOptions): Promise<PatchTracker> {
    const where = 'PatchTracker.start';
    const given: Partial<TrackerOptions> = checkOptions(where, options) ?? {};
    const { mask, batchIndex = 0, signal } = given;
    signal?.throwIfAborted();
    if (mask === undefined) throw wrong(`${where}: mask`, 'the object in the first frame', 'nothing');
    const { gpu, rows, cols, embedDim } = features;
    const firstToken = firstTokenOf(where, features, batchIndex);
    const onGpu = mask instanceof GpuPatchMap ? mask : undefined;
    if (onGpu) checkSize(onGpu, rows, cols);
    if (onGpu && onGpu.gpu.device !== gpu.device)
      throw wrong(`${where}: mask`, 'a map on the device of the features', 'another device');
    const labels = mask instanceof GpuPatchMap ? undefined : labelsOf(features, batchIndex, mask);
    const settings = settingsOf(given, labels);

    const constants = { EMBED_DIM: embedDim, TOP_K: settings.topK };
    const kernels: Kernels = await Promise.all([
      gpu.pipelines.compile({ kernel: unitPatches, constants }),
      gpu.pipelines.compile({ kernel: nearestContext, constants }),
      gpu.pipelines.compile({ kernel: propagateLabels, constants }),
    ]);
    const patches = rows * cols;
    const slots = slotsOf(settings);
    const buffers = await gpu.task(where, signal, async (task) => {
      if (features.lease) task.use(features.lease);
      if (onGpu) task.use(onGpu.lease);
      const made = task.burst((burst): TrackerBuffers => {
        const storage = (name: string, bytes: number): GPUBuffer => burst.storage(`tracker ${name}`, bytes);
        const own = {
          context: storage('context', slots * patches * embedDim * F32_BYTES),
          labels: storage('labels', slots * patches * F32_BYTES),
          newLabels: storage('new labels', patches * F32_BYTES),
          candidates: storage(
            'candidates',
            (1 + settings.contextFrames) * patches * settings.topK * CANDIDATE_BYTES,
          ),
        };
        if (labels) burst.write(own.labels, 0, labels);
        const size = burst.uniformOf('tracker size', [rows, cols, firstToken, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        burst.dispatch(kernels[0], [size, features.buffer, own.context], [Math.ceil(patches / 16)]);
        if (onGpu) burst.copy(onGpu.buffer, 0, own.labels, 0, patches * F32_BYTES);
        return own;
      });
      for (const each of Object.values(made) as GPUBuffer[]) task.keep(each);
      return made;
    });
    return new PatchTracker(features, settings, kernels, buffers);
  }

  /**
   * Computes the labels of the next frame: (rows, cols), from 0 (not the object) to 1. Labels below the
   * option `threshold` are 0, so the map is 0 everywhere if the object is lost. If the object appears again,
   * it is found again, because the first frame stays in the context. Calls take their turn in the order in
   * which they were made. If a call fails, the frame is left out. A patch whose token contains NaN or infinity
   * has the value NaN; later frames ignore it.
   * @throws OptionError OPTION_VALUE, if the number of patches or of channels differs from the first frame, or
   *   if `batchIndex` is out of range; DeviceError DISPOSED, after `dispose()`; DeviceError, if the GPU fails
   */
  async next(features: PatchFeatures, options: TrackerNextOptions = {}): Promise<GpuPatchMap> {
    const where = 'PatchTracker.next';
    const { batchIndex = 0, signal } = checkOptions(where, options);
    signal?.throwIfAborted();
    this.#lease.check();
    const gpu = this.#gpu;
    const { rows, cols, embedDim } = this;
    if (features.rows !== rows || features.cols !== cols || features.embedDim !== embedDim)
      throw wrong(
        where,
        `${rows} × ${cols} patches (rows × columns) with ${embedDim} channels, as in the first frame`,
        `${features.rows} × ${features.cols} patches with ${features.embedDim} channels. Start a new tracker for another size or model`,
      );
    gpu.check(); // after a loss, the features of later frames are on another device
    if (features.gpu.device !== gpu.device)
      throw wrong(where, 'features on the device of the first frame', 'another device');
    const firstToken = firstTokenOf(where, features, batchIndex);
    const before = this.#turn;
    // The task does not get the signal: an abort after its last burst would free the tracker's buffers.
    const work = gpu.task(where, undefined, async (task) => {
      task.use(this.#lease);
      if (features.lease) task.use(features.lease);
      await before;
      return this.#propagate(task, features.buffer, firstToken, signal);
    });
    this.#turn = work.catch(() => undefined);
    return new GpuPatchMap(gpu, rows, cols, await work);
  }

  /** Frees the GPU memory. Maps that the tracker returned stay valid. Further calls do nothing. */
  dispose(): void {
    abandoned.unregister(this);
    this.#lease.dispose();
  }

  /** Calls `dispose()`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Computes the labels of a frame, stores the frame in the context, and returns a buffer of strengths. */
  async #propagate(
    task: Task,
    tokens: GPUBuffer,
    firstToken: number,
    signal: AbortSignal | undefined,
  ): Promise<GPUBuffer> {
    const { rows, cols, embedDim } = this;
    const { contextFrames, radius, temperature, minSimilarity, threshold } = this.#settings;
    const { context, labels, newLabels, candidates } = this.#buffers;
    const [unit, nearest, propagate] = this.#kernels;
    const patches = rows * cols;
    const groups = Math.ceil(patches / 16);
    const recent = Math.min(this.#frames, contextFrames);
    const ring = contextFrames + 1;
    const slot = 1 + (this.#frames % ring);
    const oldest = (this.#frames - recent) % ring;
    const numbers = bitsOf(temperature, minSimilarity, threshold);
    const sizeFrom = (firstFrame: number): number[] =>
      [rows, cols, firstToken, slot, 1 + recent, firstFrame, oldest, ring, radius].concat(numbers);

    // Context frames are compared together only as far as a submit stays short.
    const across = Math.min(cols, 2 * radius + 1) * Math.min(rows, 2 * radius + 1);
    const flops = 2 * patches * across * embedDim;
    const together = Math.max(1, Math.floor((this.#gpu.flopsPerSecond * (SUBMIT_MS / 1000)) / flops));
    for (let first = 0; ; first += together) {
      signal?.throwIfAborted();
      const count = Math.min(together, 1 + recent - first);
      const isLast = first + count === 1 + recent;
      const strengths = task.burst((burst) => {
        const size = burst.uniformOf('tracker size', sizeFrom(first));
        if (first === 0) burst.dispatch(unit, [size, tokens, context], [groups]);
        burst.dispatch(nearest, [size, context, candidates], [groups, count]);
        if (!isLast) return undefined;
        const out = burst.storage('tracked patches', patches * F32_BYTES);
        burst.dispatch(propagate, [size, candidates, labels, newLabels, out], [groups]);
        burst.copy(newLabels, 0, labels, slot * patches * F32_BYTES, patches * F32_BYTES);
        return out;
      });
      if (strengths) {
        this.#frames += 1;
        // A GPU error of this task is thrown by the next task that uses one of these buffers.
        for (const each of Object.values(this.#buffers) as GPUBuffer[]) task.keep(each);
        return task.keep(strengths);
      }
      await task.computed();
    }
  }
}

/** Frames whose patches are kept: the first frame, the last `contextFrames` frames, and the newest frame. */
const slotsOf = ({ contextFrames }: TrackerSettings): number => contextFrames + 2;

/** Returns the row of the buffer with the first patch of an image. @throws OptionError OPTION_VALUE */
function firstTokenOf(
  where: string,
  { batch, numTokens, numRegisterTokens }: PatchFeatures,
  batchIndex: number,
): number {
  if (!Number.isInteger(batchIndex) || batchIndex < 0 || batchIndex >= batch)
    throw wrong(`${where}: batchIndex`, `a whole number from 0 to ${batch - 1}`, batchIndex);
  return batchIndex * numTokens + 1 + numRegisterTokens;
}

/** The bits of f32 numbers, for a uniform buffer of u32. */
const bitsOf = (...values: readonly number[]): number[] => [
  ...new Uint32Array(Float32Array.from(values).buffer),
];
