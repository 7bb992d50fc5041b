/** Runs, describes, profiles and tunes the forward passes of one model, one call at a time. */
import type { Weights } from '../weights/weightMemory.js';
import { DeviceError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { Target } from '../gpu/lowering.js';
import type { Burst } from '../gpu/task.js';
import type { ImagePlacement } from '../image/placement.js';
import { MAX_WORKGROUPS } from '../gpu/workgroups.js';
import { F32_BYTES } from '../graph/constants.js';
import { elementCount, type Value } from '../graph/graph.js';
import type { DINOv2Config } from '../model/config.js';
import { Features, type ForwardBuffers } from '../features.js';
import type { FinalNorm } from '../model/finalNorm.js';
import { layerSet } from '../model/layers.js';
import { countTokens, type Grid } from '../model/vit.js';
import type { ForwardOptions, TuningReport } from '../options.js';
import { loadPart } from '../platform/part.js';
import { ProgramCache } from './programCache.js';
import { JobQueue } from './queue.js';
import type { TuneSetting } from './tuneSetting.js';

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
  async run(
    grid: Grid,
    placements: readonly ImagePlacement[],
    options: ForwardOptions,
    fill: (burst: Burst, pixels: GPUBuffer) => void,
  ): Promise<Features> {
    const { depth, layerNormEps: eps } = this.#config;
    const { maskedPatches, signal } = options;
    const layers = layerSet('layers', options.layers ?? [], depth + 1);
    const attentions = layerSet('attentions', options.attentions ?? [], depth);
    const { rows, cols } = grid;
    const cannotMask =
      maskedPatches &&
      (maskedPatches.length !== grid.batch * rows * cols || !this.#weights.buffers.has('mask_token'));
    if (cannotMask || !this.canHold(rows, cols)) {
      const { refused } = await loadPart(import('./refused.js'));
      throw refused(grid, countTokens(this.#config, grid), maskedPatches?.length);
    }
    const mask = maskedPatches && Uint32Array.from(maskedPatches, Number);
    const outputs = { layers, attentions, masked: mask !== undefined };
    const running = this.#queue.run(async () => {
      signal?.throwIfAborted();
      const { program, forward } = await this.#programs.get(grid, outputs);
      const { pool, target } = this.#programs;
      const { buffers, norm } = await this.#gpu.task('forward', signal, async (task) => {
        const made = task.burst((burst) => {
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
            norm: forward.hiddenStates.size > 0 ? { ...this.#copyOfNorm(burst), eps, target } : undefined,
          };
        });
        task.keepAll(); // if an allocation failed, the first read of the features throws the error
        await program.run(task, (output) => made.buffers.get(output)!);
        return made;
      });
      const buffersOf = (values: ReadonlyMap<number, Value>): ForwardBuffers['qkv'] =>
        new Map([...values].map(([layer, value]) => [layer, buffers.get(value)!]));
      return new Features(this.#gpu, this.#config, grid, placements, {
        lastHiddenState: buffers.get(forward.lastHiddenState)!,
        hiddenStates: buffersOf(forward.hiddenStates),
        qkv: buffersOf(forward.qkv),
        norm,
      });
    }, signal);
    return running.catch(async (error: unknown) => {
      if (!(error instanceof DeviceError && /MEMORY|LIMIT/.test(error.code))) throw error;
      const part = await import('./advice.js').catch(() => undefined);
      const model = {
        gpu: this.#gpu,
        config: this.#config,
        weights: this.#weights,
        programs: this.#programs,
      };
      throw part?.withAdvice(error, model, grid, outputs) ?? error;
    });
  }

  #copyOfNorm(burst: Burst): Pick<FinalNorm, 'weight' | 'bias'> {
    const copyOf = (name: string): GPUBuffer => {
      const original = this.#weights.buffers.get(name)!;
      const copy = burst.storage(`features ${name}`, original.size);
      burst.copy(original, 0, copy, 0, original.size);
      return copy;
    };
    return { weight: copyOf('norm.weight'), bias: copyOf('norm.bias') };
  }

  /** Describes a forward pass as text, with one line for each dispatch. */
  async describe(grid: Grid): Promise<string> {
    const { describeProgram } = await import('../gpu/describeProgram.js');
    const { program } = await this.#queue.run(() => this.#programs.get(grid));
    return describeProgram(program);
  }

  /** Runs a job with the programs of the model, after all earlier jobs have ended. */
  withPrograms<Result>(
    job: (programs: ProgramCache) => Promise<Result>,
    signal?: AbortSignal,
  ): Promise<Result> {
    return this.#queue.run(() => job(this.#programs), signal);
  }

  /** Chooses the fastest kernels; see `tuneForwards`. */
  async tune(setting: TuneSetting): Promise<Omit<TuningReport, 'ms'>> {
    const { tuneForwards } = await import('./tune.js');
    return tuneForwards(this.#gpu, this.#config, this.#programs, this.#queue, this.#weights, setting);
  }

  /**
   * Makes later calls throw. Resolves when running forward passes have ended and all GPU buffers are freed.
   */
  async dispose(): Promise<void> {
    await this.#queue.close();
    await this.#programs.dispose();
  }
}
