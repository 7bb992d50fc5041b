/** Runs, describes, profiles and tunes the forward passes of one model, one call at a time. */
import type { Weights } from '../weights/weightMemory.js';
import { CheckpointError, DeviceError, OptionError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { Target } from '../gpu/lowering.js';
import type { Profile } from '../gpu/measure/profile.js';
import type { Burst } from '../gpu/task.js';
import type { ImagePlacement } from '../image/placement.js';
import type { TuningStore } from '../gpu/measure/tuningStore.js';
import { MAX_WORKGROUPS } from '../gpu/workgroups.js';
import { F32_BYTES } from '../graph/constants.js';
import { elementCount, type Value } from '../graph/graph.js';
import type { DINOv2Config } from '../model/config.js';
import { Features, type ForwardBuffers } from '../features.js';
import type { FinalNorm } from '../model/finalNorm.js';
import { layerSet } from '../model/layers.js';
import { countTokens, type Grid } from '../model/vit.js';
import type { ForwardOptions, TuningReport } from '../options.js';
import { ProgramCache } from './programCache.js';
import { JobQueue } from './queue.js';

/**
 * Largest number of tokens of an image. Some kernels dispatch one workgroup per token along one axis, and
 * WebGPU limits the number of workgroups along an axis.
 */
export const MAX_TOKENS: number = MAX_WORKGROUPS;

/** Runs the forward passes of one model. */
export class Forwards {
  readonly #gpu: Gpu;
  readonly #config: DINOv2Config;
  readonly #weights: Weights;
  readonly #programs: ProgramCache;
  readonly #queue = new JobQueue();

  constructor(gpu: Gpu, config: DINOv2Config, target: Target, weights: Weights) {
    this.#gpu = gpu;
    this.#config = config;
    this.#weights = weights;
    this.#programs = new ProgramCache(gpu, config, target, weights);
  }

  /** True if an image of `rows` × `cols` patches has at most `MAX_TOKENS` tokens. */
  canHold(rows: number, cols: number): boolean {
    return countTokens(this.#config, { batch: 1, rows, cols }) <= MAX_TOKENS;
  }

  /**
   * Runs one forward pass.
   *
   * @param placements how the pixels of each image map to patches
   * @param fill writes the pixels, (batch, 3, rows · patchSize, cols · patchSize), into their buffer
   * @throws OptionError, CheckpointError CHECKPOINT_TENSORS, DeviceError; the signal's reason
   */
  run(
    grid: Grid,
    placements: readonly ImagePlacement[],
    options: ForwardOptions,
    fill: (burst: Burst, pixels: GPUBuffer) => void,
  ): Promise<Features> {
    const { depth, layerNormEps: eps } = this.#config;
    const { maskedPatches, signal } = options;
    const layers = layerSet('layers', options.layers ?? [], depth + 1);
    const attentions = layerSet('attentions', options.attentions ?? [], depth);
    const mask = maskedPatches && this.#maskOf(maskedPatches, grid);
    const numTokens = countTokens(this.#config, grid);
    if (numTokens > MAX_TOKENS) {
      throw new DeviceError(
        'DEVICE_LIMIT',
        `An image of ${grid.rows} × ${grid.cols} patches is too large: expected at most ${MAX_TOKENS} tokens, found ${numTokens}. Use a smaller image.`,
      );
    }
    return this.#queue.run(async () => {
      signal?.throwIfAborted();
      const outputs = { layers, attentions, masked: mask !== undefined };
      const { program, forward } = await this.#programs.get(grid, outputs);
      const { pool } = this.#programs;
      return this.#gpu.task('forward', signal, async (task) => {
        const { buffers, norm } = task.burst((burst) => {
          fill(burst, pool.get('pixels')!);
          if (mask) burst.write(pool.get('mask')!, 0, mask);
          const destinations = new Map(
            forward.graph.outputs.map((output) => [
              output,
              burst.storage(`features ${output.name}`, elementCount(output.shape) * F32_BYTES),
            ]),
          );
          return {
            buffers: destinations,
            // The features may be used after the model was disposed of, so they get their own copy of the
            // final LayerNorm's parameters.
            norm: forward.hiddenStates.size > 0 ? { ...this.#copyOfNorm(burst), eps } : undefined,
          };
        });
        task.keepAll(); // if an allocation failed, the first read of the features throws the error
        await program.run(task, (output) => buffers.get(output)!);
        const buffersOf = (values: ReadonlyMap<number, Value>): ForwardBuffers['qkv'] =>
          new Map([...values].map(([layer, value]) => [layer, buffers.get(value)!]));
        return new Features(this.#gpu, this.#config, grid, placements, {
          lastHiddenState: buffers.get(forward.lastHiddenState)!,
          hiddenStates: buffersOf(forward.hiddenStates),
          qkv: buffersOf(forward.qkv),
          norm,
        });
      });
    }, signal);
  }

  #copyOfNorm(burst: Burst): Omit<FinalNorm, 'eps'> {
    const copyOf = (name: string): GPUBuffer => {
      const original = this.#weights.buffers.get(name)!;
      const copy = burst.storage(`features ${name}`, original.size);
      burst.copy(original, 0, copy, 0, original.size);
      return copy;
    };
    return { weight: copyOf('norm.weight'), bias: copyOf('norm.bias') };
  }

  /**
   * Checks the option `maskedPatches` and converts it to the mask that the kernel reads.
   *
   * @throws OptionError OPTION_VALUE, CheckpointError CHECKPOINT_TENSORS
   */
  #maskOf(
    maskedPatches: readonly boolean[] | Uint8Array,
    { batch, rows, cols }: Grid,
  ): Uint32Array<ArrayBuffer> {
    const count = batch * rows * cols;
    if (maskedPatches.length !== count) {
      throw new OptionError(
        'OPTION_VALUE',
        `maskedPatches: expected ${batch} × ${rows} × ${cols} = ${count} values, found ${maskedPatches.length}. Give one value for each patch of each image, row by row.`,
      );
    }
    if (!this.#weights.buffers.has('mask_token')) {
      throw new CheckpointError(
        'CHECKPOINT_TENSORS',
        'maskedPatches: the checkpoint has no mask token (a tensor mask_token or embeddings.mask_token). Leave maskedPatches out, or load a checkpoint that has a mask token, such as facebook/dinov2-small.',
      );
    }
    return Uint32Array.from(maskedPatches, Number);
  }

  /** Describes a forward pass as text, with one line for each dispatch. */
  async describe(grid: Grid): Promise<string> {
    const { program } = await this.#queue.run(() => this.#programs.get(grid));
    return program.describe();
  }

  /**
   * Times every dispatch of a forward pass.
   *
   * @param pixels normalised pixels, (batch, 3, rows · patchSize, cols · patchSize)
   */
  profile(grid: Grid, pixels: GPUBuffer, signal?: AbortSignal): Promise<Profile> {
    return this.#queue.run(async () => {
      const { profileForward } = await import('./profile.js');
      return profileForward(this.#gpu, this.#programs, grid, pixels, signal);
    }, signal);
  }

  /** Chooses the fastest kernels for square images with sides of `sizesPx` pixels; see `tuneForwards`. */
  async tune(
    sizesPx: readonly number[],
    store: TuningStore | undefined,
    signal?: AbortSignal,
  ): Promise<TuningReport> {
    const startMs = performance.now();
    const { tuneForwards } = await import('./tune.js');
    const report = await tuneForwards(
      this.#gpu,
      this.#config,
      this.#programs,
      this.#queue,
      sizesPx,
      store,
      signal,
    );
    return { ...report, ms: performance.now() - startMs };
  }

  /**
   * Makes later calls throw. Resolves when running forward passes have ended and all GPU buffers are freed.
   */
  async dispose(): Promise<void> {
    await this.#queue.close();
    await this.#programs.dispose();
  }
}
