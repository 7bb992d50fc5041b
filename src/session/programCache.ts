/** Caches the compiled programs of one model: one program for each input size and set of outputs. */
import type { Gpu } from '../gpu/device.js';
import type { Target } from '../gpu/lowering.js';
import { Program, SlotPool } from '../gpu/program.js';
import { planMemory, type Plan } from '../graph/planner.js';
import { nativeGrid, type DINOv2Config } from '../model/config.js';
import { interpolatePosEmbed } from '../model/posEmbed.js';
import { buildForward, countTokens, type Forward, type Grid, type ForwardVariant } from '../model/vit.js';
import type { Weights } from '../weights/weightMemory.js';

/**
 * Largest number of programs in the cache. Each program has its own bind groups and table of position
 * embeddings. All programs share the buffers of their activations.
 */
const MAX_PROGRAMS = 8;

/** A program with the graph that the program was made from. */
export interface CachedProgram {
  readonly program: Program;
  readonly forward: Forward;
  dispose(): void;
}

/** Makes a program when it is first needed, and disposes of the least recently used programs. */
export class ProgramCache {
  /** Buffers that all programs of the model share: inputs and activations. */
  readonly pool: SlotPool;
  readonly #gpu: Gpu;
  readonly #config: DINOv2Config;
  #target: Target;
  readonly #weights: Weights;
  /** The cached programs by key, the least recently used program first. */
  readonly #programs = new Map<string, Promise<CachedProgram>>();

  constructor(gpu: Gpu, config: DINOv2Config, target: Target, weights: Weights) {
    this.#gpu = gpu;
    this.#config = config;
    this.#target = target;
    this.#weights = weights;
    this.pool = new SlotPool(gpu);
  }

  /**
   * The target (adapter, weight storage and tuning) of new programs. The target decides which kernels the
   * programs use.
   */
  get target(): Target {
    return this.#target;
  }

  /** Sets the target of new programs, and disposes of all cached programs. */
  setTarget(target: Target): void {
    this.#target = target;
    for (const program of this.#programs.values()) void program.then((old) => old.dispose());
    this.#programs.clear();
  }

  /** Returns the program for an input size and a set of outputs. Makes the program if it is not cached. */
  get(grid: Grid, outputs: ForwardVariant = {}): Promise<CachedProgram> {
    const key = keyOf(grid, outputs);
    const cached = this.#programs.get(key);
    const loading = cached ?? this.#make(grid, outputs);
    this.#programs.delete(key);
    this.#programs.set(key, loading);
    if (!cached) {
      loading.catch(() => this.#programs.delete(key));
      const [oldest, program] = this.#programs.entries().next().value!;
      if (this.#programs.size > MAX_PROGRAMS) {
        this.#programs.delete(oldest);
        void program.then((old) => old.dispose());
      }
    }
    return loading;
  }

  /** Plans the buffers of a program without making them. */
  plan(grid: Grid, outputs: ForwardVariant): { readonly forward: Forward; readonly slots: Plan['slots'] } {
    const forward = buildForward(this.#config, grid, outputs);
    return { forward, slots: planMemory(forward.graph).slots };
  }

  /** True if the program for an input size and a set of outputs is cached. */
  has(grid: Grid, outputs: ForwardVariant): boolean {
    return this.#programs.has(keyOf(grid, outputs));
  }

  /** Frees the programs and the shared buffers. Call it only while no forward pass runs. */
  async dispose(): Promise<void> {
    await Promise.all(
      [...this.#programs.values()].map(async (loading) => (await loading.catch(() => undefined))?.dispose()),
    );
    this.#programs.clear();
    this.pool.dispose();
  }

  async #make(grid: Grid, outputs: ForwardVariant): Promise<CachedProgram> {
    const gpu = this.#gpu;
    const config = this.#config;
    const forward = buildForward(config, grid, outputs);
    const size = { ...grid, numTokens: countTokens(config, grid) };
    const table = this.#positionTable(grid);
    const positions = await gpu.make('positions', (burst) => burst.storageOf('positions', table));
    const fixed = ({ name, kind }: { name: string; kind: string }): GPUBuffer | undefined =>
      kind === 'weight' ? this.#weights.buffers.get(name) : name === 'positions' ? positions : undefined;
    try {
      const program = await Program.create(gpu, forward.graph, this.#target, size, this.pool, fixed);
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

  /**
   * Computes the position embeddings for an input size, (1 + rows · cols, embedDim): the first row is for the
   * cls token, each further row for one patch.
   */
  #positionTable({ rows, cols }: Grid): Float32Array<ArrayBuffer> {
    const { posEmbed } = this.#weights;
    const { embedDim, posEmbed: convention } = this.#config;
    const table = new Float32Array((1 + rows * cols) * embedDim);
    table.set(posEmbed.subarray(0, embedDim));
    const size = { embedDim, nativeGrid: nativeGrid(this.#config), rows, cols, convention };
    table.set(interpolatePosEmbed(posEmbed, size), embedDim);
    return table;
  }
}

const keyOf = (grid: Grid, outputs: ForwardVariant): string =>
  JSON.stringify([
    grid.batch,
    grid.rows,
    grid.cols,
    sortedSet(outputs.layers),
    sortedSet(outputs.attentions),
    outputs.masked === true,
  ]);

const sortedSet = (values: readonly number[] = []): number[] => [...new Set(values)].sort((a, b) => a - b);
