/**
 * The forwards of one model: a program for each input size, buffers that they share, one run after the other.
 */
import { untilAborted } from '../platform/abort.js';
import type { Weights } from '../weights/weightMemory.js';
import { CheckpointError, DeviceError, modelDisposed, OptionError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { Target } from '../gpu/lowering.js';
import type { Profile } from '../gpu/measure/profile.js';
import type { Burst } from '../gpu/task.js';
import { Program, SlotPool } from '../gpu/program.js';
import type { Tuning, TuningCase } from '../gpu/measure/tuner.js';
import type { TuningStore } from '../gpu/measure/tuningStore.js';
import { elementCount, type Node, type Value } from '../graph/graph.js';
import { nativeGrid, type DINOv2Config } from '../model/config.js';
import { Features, type ForwardBuffers } from '../model/features.js';
import type { FinalNorm } from '../model/finalNorm.js';
import { interpolatePosEmbed } from '../model/posEmbed.js';
import { buildForward, countTokens, type Forward, type Grid, type ForwardVariant } from '../model/vit.js';
import type { ForwardOptions, TuningReport } from '../options.js';

/**
 * Programs that are kept for input sizes seen before. Each holds a table of positions and bind groups;
 * activations are shared.
 */
const MAX_PROGRAMS = 8;

/** Tokens of an image at most: one workgroup each along an axis of a dispatch. */
export const MAX_TOKENS = 65_535;

export class Forwards {
  readonly #gpu: Gpu;
  readonly #config: DINOv2Config;
  #target: Target;
  readonly #weights: Weights;
  readonly #pool: SlotPool;
  readonly #programs = new Map<string, Promise<LoadedProgram>>();
  /** Forwards share buffers, so they run one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #disposed = false;

  constructor(gpu: Gpu, config: DINOv2Config, target: Target, weights: Weights) {
    this.#gpu = gpu;
    this.#config = config;
    this.#target = target;
    this.#weights = weights;
    this.#pool = new SlotPool(gpu);
  }

  /** Whether an image of so many patches can be computed. */
  canHold(rows: number, cols: number): boolean {
    return countTokens(this.#config, { batch: 1, rows, cols }) <= MAX_TOKENS;
  }

  /**
   * One forward: `fill` brings the pixels into their buffer, (batch, 3, rows · patchSize, cols · patchSize).
   */
  run(
    grid: Grid,
    { layers = [], attentions = [], maskedPatches, signal }: ForwardOptions,
    fill: (burst: Burst, pixels: GPUBuffer) => void,
  ): Promise<Features> {
    const { depth, layerNormEps: eps } = this.#config;
    checkLayers('layers', layers, depth);
    checkLayers('attentions', attentions, depth - 1);
    const mask = maskedPatches && this.#maskOf(maskedPatches, grid);
    const numTokens = countTokens(this.#config, grid);
    if (numTokens > MAX_TOKENS) {
      throw new DeviceError(
        'DEVICE_LIMIT',
        `An image of ${grid.rows} × ${grid.cols} patches: expected at most ${MAX_TOKENS} tokens, found ${numTokens}. Use a smaller image.`,
      );
    }
    return this.#exclusive(async () => {
      signal?.throwIfAborted();
      const wanted = { layers, attentions, masked: mask !== undefined };
      const { program, forward } = await this.#programFor(grid, wanted);
      return this.#gpu.task('forward', signal, async (task) => {
        const { buffers, norm } = task.burst((burst) => {
          fill(burst, this.#pool.get('pixels')!);
          if (mask) burst.write(this.#pool.get('mask')!, 0, mask);
          const outputs = new Map(
            forward.graph.outputs.map((output) => [
              output,
              burst.storage(`features ${output.name}`, elementCount(output.shape) * 4),
            ]),
          );
          return {
            buffers: outputs,
            // The features outlive the model, so they have the norm's parameters of their own.
            norm: forward.hiddenStates.size > 0 ? { ...this.#copyOfNorm(burst), eps } : undefined,
          };
        });
        task.keepAll(); // if there was no room for them, whoever reads them is told
        await program.run(task, (output) => buffers.get(output)!);
        const kept = (values: ReadonlyMap<number, Value>): ForwardBuffers['qkv'] =>
          new Map([...values].map(([layer, value]) => [layer, buffers.get(value)!]));
        return new Features(this.#gpu, this.#config, grid, {
          lastHiddenState: buffers.get(forward.lastHiddenState)!,
          hiddenStates: kept(forward.hiddenStates),
          qkv: kept(forward.qkv),
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

  /** @throws OptionError OPTION_VALUE, CheckpointError CHECKPOINT_TENSORS */
  #maskOf(
    maskedPatches: readonly boolean[] | Uint8Array,
    { batch, rows, cols }: Grid,
  ): Uint32Array<ArrayBuffer> {
    const count = batch * rows * cols;
    if (maskedPatches.length !== count) {
      throw new OptionError(
        'OPTION_VALUE',
        `maskedPatches: expected ${batch} × ${rows} × ${cols} = ${count} values, found ${maskedPatches.length}. Give one for every patch of every image, row by row.`,
      );
    }
    if (!this.#weights.buffers.has('mask_token')) {
      throw new CheckpointError(
        'CHECKPOINT_TENSORS',
        'maskedPatches: expected a checkpoint with a mask token (mask_token, or embeddings.mask_token), found one without. Leave maskedPatches out, or load a checkpoint such as facebook/dinov2-small.',
      );
    }
    return Uint32Array.from(maskedPatches, Number);
  }

  /** The plan of a forward, one line a dispatch. */
  async describe(grid: Grid): Promise<string> {
    const { program } = await this.#exclusive(() => this.#programFor(grid, {}));
    return program.describe();
  }

  /** Times every dispatch of a forward of these pixels, (batch, 3, rows · patchSize, cols · patchSize). */
  profile(grid: Grid, pixels: GPUBuffer, signal?: AbortSignal): Promise<Profile> {
    return this.#exclusive(async () => {
      const { program } = await this.#programFor(grid, {});
      await this.#gpu.task('profile', signal, (task) =>
        task.burst((burst) => burst.copy(pixels, 0, this.#pool.get('pixels')!, 0, pixels.size)),
      );
      const { profileProgram } = await import('../gpu/measure/profiler.js');
      return profileProgram(this.#gpu, program, grid, signal);
    }, signal);
  }

  /**
   * Chooses among the kernels that give the same bits by measuring them, for square images of these sizes, or
   * takes what was measured before. Forwards from now on use them.
   */
  async tune(
    sizesPx: readonly number[],
    store: TuningStore | undefined,
    signal?: AbortSignal,
  ): Promise<TuningReport> {
    const startMs = performance.now();
    const { isTunable, parseTuning, tune, tuningKey, untuned } = await import('../gpu/measure/tuner.js');
    const target = untuned(this.#target);
    const cases = sizesPx.flatMap((px) => this.#casesOf(px, isTunable));
    let storeError: string | undefined;
    const report = (news: Omit<TuningReport, 'ms'>): TuningReport => ({
      ...news,
      ms: performance.now() - startMs,
    });
    if (!this.#gpu.alternativesAgree || cases.length === 0)
      return report({ tuning: undefined, source: 'nothing to choose', samples: [], leftOut: [] });
    const key = tuningKey(this.#gpu, cases, target);
    const unkept = (cause: unknown): void => void (storeError ??= String(cause)); // a tuning that is not kept is measured again, no more
    // The store is the caller's: it may throw, or never answer. No forward waits for it.
    const kept = parseTuning(await untilAborted(async () => store?.get(key), signal).catch(unkept));
    signal?.throwIfAborted();
    const found = await this.#exclusive(async () => {
      if (kept && (await this.#holds(kept, target))) {
        await this.#retarget(kept);
        return { tuning: kept, source: 'kept', samples: [], leftOut: [] } as const;
      }
      const { tuning, samples, leftOut } = await tune(this.#gpu, cases, target, signal);
      await this.#retarget(tuning);
      return { tuning, source: 'measured', samples, leftOut } as const;
    }, signal);
    if (store && found.source === 'measured')
      await untilAborted(async () => store.set(key, found.tuning), signal).catch(unkept);
    return report({ ...found, storeError });
  }

  /** The layers of one block that leave something to choose, with their sizes, for one image of px × px. */
  #casesOf(px: number, isTunable: (node: TuningCase['node'], target: Target) => boolean): TuningCase[] {
    const side = Math.floor(px / this.#config.patchSize);
    const grid = { batch: 1, rows: side, cols: side };
    const size = { ...grid, numTokens: countTokens(this.#config, grid) };
    const nodes = buildForward(this.#config, grid).graph.nodes.filter(({ label }) =>
      label.startsWith('blocks.0.'),
    );
    return nodes.filter((node) => isTunable(node, this.#target)).map((node) => ({ node, size }));
  }

  /**
   * Whether the kernels that are used only where a tuning says so pass the self-test, which stands before
   * every use of theirs.
   */
  async #holds(tuning: Tuning, proven: Target): Promise<boolean> {
    const { selfTest } = await import('../gpu/checks/selfTest.js');
    try {
      await selfTest(this.#gpu, this.#nodes(), { ...this.#target, ...tuning }, proven);
      return true;
    } catch (error) {
      if (error instanceof DeviceError && (error.code === 'KERNEL_WRONG' || error.code === 'KERNEL_COMPILE'))
        return false;
      throw error;
    }
  }

  /** Those of the smallest forward, whose kernels are those of all sizes. */
  #nodes(): readonly Node[] {
    return buildForward(this.#config, { batch: 1, rows: 1, cols: 1 }).graph.nodes;
  }

  async #retarget(tuning: Tuning): Promise<void> {
    const target = { ...this.#target, ...tuning };
    await Program.warmUp(this.#gpu, this.#nodes(), target);
    this.#target = target;
    for (const program of this.#programs.values()) void program.then((old) => old.dispose());
    this.#programs.clear();
  }

  /**
   * Takes no task any more. Resolves when those under way have ended, and the programs and shared buffers are
   * freed.
   */
  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.#queue; // a forward under way holds the buffers
    await Promise.all(
      [...this.#programs.values()].map(async (loading) => (await loading.catch(() => undefined))?.dispose()),
    );
    this.#programs.clear();
    this.#pool.dispose();
  }

  /**
   * Runs a task when those before it have ended. An abort ends the wait; from then on it is the task that
   * heeds it.
   */
  #exclusive<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#disposed) throw modelDisposed();
    if (signal?.aborted) return Promise.reject(signal.reason as Error); // its event is over: nobody would hear it
    let started = false;
    const result = this.#queue.then(() => {
      signal?.throwIfAborted(); // it was told so already, and has freed what it wanted to use
      started = true;
      return task();
    });
    // Not the result itself, which would be held until the next task.
    const over = (): void => undefined;
    this.#queue = result.then(over, over);
    if (!signal) return result;
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        if (!started) reject(signal.reason as Error);
      };
      signal.addEventListener('abort', abort, { once: true });
      void result.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    });
  }

  #programFor(grid: Grid, wanted: ForwardVariant): Promise<LoadedProgram> {
    const key = JSON.stringify([
      grid.batch,
      grid.rows,
      grid.cols,
      sortedSet(wanted.layers),
      sortedSet(wanted.attentions),
      wanted.masked === true,
    ]);
    const known = this.#programs.get(key);
    const loading = known ?? this.#makeProgram(grid, wanted);
    this.#programs.delete(key); // the map's order is that of last use
    this.#programs.set(key, loading);
    if (!known) {
      loading.catch(() => this.#programs.delete(key));
      const [oldest, program] = this.#programs.entries().next().value!;
      if (this.#programs.size > MAX_PROGRAMS) {
        this.#programs.delete(oldest);
        void program.then((old) => old.dispose());
      }
    }
    return loading;
  }

  async #makeProgram(grid: Grid, wanted: ForwardVariant): Promise<LoadedProgram> {
    const gpu = this.#gpu;
    const config = this.#config;
    const { embedDim } = config;
    const forward = buildForward(config, grid, wanted);
    const size = { ...grid, numTokens: countTokens(config, grid) };
    const table = new Float32Array((1 + grid.rows * grid.cols) * embedDim);
    table.set(this.#weights.posEmbed.subarray(0, embedDim));
    const interpolated = interpolatePosEmbed(this.#weights.posEmbed, {
      embedDim,
      nativeGrid: nativeGrid(config),
      rows: grid.rows,
      cols: grid.cols,
      convention: config.posEmbed,
    });
    table.set(interpolated, embedDim);
    const positions = await gpu.make('positions', (burst) => burst.storageOf('positions', table));
    const fixed = ({ name, kind }: { name: string; kind: string }): GPUBuffer | undefined =>
      kind === 'weight' ? this.#weights.buffers.get(name) : name === 'positions' ? positions : undefined;
    try {
      const program = await Program.create(gpu, forward.graph, this.#target, size, this.#pool, fixed);
      const dispose = (): void => {
        program.dispose();
        gpu.memory.destroy(positions);
      };
      return { program, forward, dispose };
    } catch (error) {
      gpu.memory.destroy(positions);
      throw error;
    }
  }
}

const sortedSet = (values: readonly number[] = []): number[] => [...new Set(values)].sort((a, b) => a - b);

function checkLayers(option: string, layers: readonly number[], last: number): void {
  const wrong = layers.find((layer) => !Number.isInteger(layer) || layer < 0 || layer > last);
  if (wrong !== undefined)
    throw new OptionError(
      'OPTION_VALUE',
      `${option}: expected whole numbers from 0 to ${last}, found ${wrong}.`,
    );
}

/** A program with the graph that it was made from. */
interface LoadedProgram {
  readonly program: Program;
  readonly forward: Forward;
  dispose(): void;
}
