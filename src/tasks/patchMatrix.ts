/**
 * Principal components of patches that are on the GPU. They stay there: a block of eight vectors is iterated
 * on them, and what comes back is small (the vectors, their products, eight scores a patch) and is brought to
 * its final form in float64 here.
 */
import { ImageError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { Lease } from '../gpu/lease.js';
import type { Burst, Task } from '../gpu/task.js';
import { inLines } from '../gpu/workgroups.js';
import * as kernels from '../gpu/kernels/pcaKernels.js';
import type { CompiledKernel } from '../gpu/pipelines.js';
import { SUBMIT_MS } from '../gpu/submits.js';
import { F32_BYTES } from '../graph/constants.js';
import { dot, ritzPairs, signOf, type RitzPairs } from '../numerics/eigen.js';
import { BLOCK, startVectors } from '../numerics/startVectors.js';

/** What a PCA reads of features: `Features` has it. */
export interface PatchFeatures {
  readonly gpu: Gpu;
  /**
   * f32 (batch, numTokens, embedDim) on the GPU, in the order cls, registers, patches (rows · cols, row by
   * row).
   */
  readonly buffer: GPUBuffer;
  /** Of what owns `buffer`, where it may be disposed of meanwhile. */
  readonly lease?: Lease | undefined;
  readonly batch: number;
  readonly numTokens: number;
  readonly numRegisterTokens: number;
  readonly rows: number;
  readonly cols: number;
  readonly embedDim: number;
}

/** The principal components of some of the patches; the largest variance first. */
export interface Analysis {
  /** (embedDim): of those patches, as they were in the matrix before. */
  readonly mean: Float64Array;
  /** Of all channels together (divided by the number of patches). */
  readonly totalVariance: number;
  /** As many as were asked for, or fewer where the patches have fewer directions. */
  readonly components: readonly Component[];
}

export interface Component {
  /** Divided by the number of patches. */
  readonly variance: number;
  /** (embedDim), of length 1. */
  readonly vector: Float64Array;
  /** Of every patch in the matrix; without meaning for those that were not chosen. */
  readonly scores: Float64Array;
  /** Radians by which the vector may still be off, as far as the iteration goes. */
  readonly error: number;
}

/** Parts of the patches that are summed apart from each other. */
export const CHUNKS = 16;
/** Steps between two looks at the result, and how often it is looked at. */
const STEPS = 10;
const ROUNDS = 8;
/**
 * Radians by which a component may still be off: 0.011°. Rounding to f32 allows no less where the third
 * variance is small.
 */
const TOLERANCE = 2e-4;
/** A component with a smaller share of the first one's variance is rounding of f32. */
const SMALLEST_RATIO = 1e-6;
export const countOf = (chosen: Uint32Array): number => chosen.reduce((sum, value) => sum + value, 0);

/** What can be dispatched. */
interface Step {
  readonly kernel: CompiledKernel;
  readonly group: GPUBindGroup;
  readonly workgroups: readonly [number, number];
}

/** Elements (of four bytes) of every buffer but `size`. */
function bufferSizes(count: number, dim: number) {
  return {
    x: count * dim,
    chosen: count,
    sums: CHUNKS * dim,
    mean: dim,
    squares: CHUNKS * dim,
    vectors: BLOCK * dim,
    scores: count * BLOCK,
    partials: CHUNKS * BLOCK * dim,
    product: BLOCK * dim,
    results: (2 * BLOCK + 1 + CHUNKS) * dim + count * BLOCK,
  };
}

type Buffers = Readonly<Record<keyof ReturnType<typeof bufferSizes> | 'size', GPUBuffer>>;

/** The patches of all images, one a row, in a matrix on the GPU, with what their analysis needs there. */
export class PatchMatrix {
  /** Patches of all images together, in their order. */
  readonly count: number;
  readonly #gpu: Gpu;
  readonly #task: Task;
  readonly #embedDim: number;
  readonly #buffers: Buffers;
  readonly #center: readonly Step[];
  readonly #multiply: readonly Step[];
  readonly #orthonormalize: Step;

  private constructor(
    gpu: Gpu,
    task: Task,
    count: number,
    embedDim: number,
    buffers: Buffers,
    compiled: readonly CompiledKernel[],
  ) {
    this.#gpu = gpu;
    this.#task = task;
    this.count = count;
    this.#embedDim = embedDim;
    this.#buffers = buffers;
    const [columnSums, center, scores, partials, product, orthonormalize] = compiled as [
      CompiledKernel,
      CompiledKernel,
      CompiledKernel,
      CompiledKernel,
      CompiledKernel,
      CompiledKernel,
    ];
    const step = (
      kernel: CompiledKernel,
      names: readonly (keyof Buffers)[],
      workgroups: readonly [number, number],
    ): Step => {
      const group = gpu.pipelines.bind(
        kernel,
        names.map((name) => ({ buffer: buffers[name] })),
      );
      return { kernel, group, workgroups };
    };
    const columns = Math.ceil(embedDim / 256);
    this.#center = [
      step(columnSums, ['size', 'chosen', 'x', 'sums'], [columns, CHUNKS]),
      step(center, ['size', 'chosen', 'sums', 'x', 'mean', 'squares'], [columns, CHUNKS]),
    ];
    this.#multiply = [
      step(scores, ['size', 'x', 'vectors', 'scores'], inLines(Math.ceil(count / 32))),
      step(partials, ['size', 'x', 'scores', 'partials'], [columns, CHUNKS]),
      step(product, ['partials', 'product'], [Math.ceil((BLOCK * embedDim) / 256), 1]),
    ];
    this.#orthonormalize = step(orthonormalize, ['product', 'vectors'], [1, 1]);
  }

  /**
   * Copies the patches of all images into a matrix, whose buffers are the task's. All images are of one device
   * and have equal `embedDim`.
   */
  static async create(task: Task, images: readonly PatchFeatures[]): Promise<PatchMatrix> {
    const { gpu, embedDim } = images[0]!;
    const constants = { EMBED_DIM: embedDim, NUM_CHUNKS: CHUNKS };
    const { pcaColumnSums, pcaCenter, pcaScores, pcaPartials, pcaProduct, pcaOrthonormalize } = kernels;
    const used = [pcaColumnSums, pcaCenter, pcaScores, pcaPartials, pcaProduct, pcaOrthonormalize];
    const compiled = await Promise.all(used.map((kernel) => gpu.pipelines.compile({ kernel, constants })));
    const count = images.reduce((sum, { batch, rows, cols }) => sum + batch * rows * cols, 0);
    task.use(...images.flatMap(({ lease }) => lease ?? []));
    return task.burst((burst) => {
      const made: Partial<Record<keyof Buffers, GPUBuffer>> = {
        size: burst.uniformOf('PCA size', [count, 0, 0]),
      };
      for (const [name, elements] of Object.entries(bufferSizes(count, embedDim)))
        made[name as keyof Buffers] = burst.storage(`PCA ${name}`, elements * F32_BYTES);
      const buffers = made as Buffers;
      const tokenBytes = embedDim * F32_BYTES;
      let to = 0;
      for (const { buffer, batch, numTokens, numRegisterTokens, rows, cols } of images) {
        const bytes = rows * cols * tokenBytes;
        for (let image = 0; image < batch; image++) {
          const first = image * numTokens + 1 + numRegisterTokens;
          burst.copy(buffer, first * tokenBytes, buffers.x, to, bytes);
          to += bytes;
        }
      }
      return new PatchMatrix(gpu, task, count, embedDim, buffers, compiled);
    });
  }

  /**
   * Centres the chosen patches about their mean, makes the others zero, and finds the directions of most
   * variance.
   * @param chosen 1 or 0 for every patch
   * @param wanted number of components, fewer than BLOCK: the fewer, the sooner they are found
   */
  async analyse(chosen: Uint32Array<ArrayBuffer>, wanted: number): Promise<Analysis> {
    const chosenCount = countOf(chosen);
    const { size, chosen: flags, vectors } = this.#buffers;
    this.#run([...this.#center, ...this.#multiply], (burst) => {
      burst.write(size, 0, new Uint32Array([this.count, Math.ceil(this.count / CHUNKS), chosenCount]));
      burst.write(flags, 0, chosen);
      burst.write(vectors, 0, startVectors(this.#embedDim));
    });

    const power = [this.#orthonormalize, ...this.#multiply];
    const flops = 4 * BLOCK * this.count * this.#embedDim; // of one step
    const together = Math.max(
      1,
      Math.min(STEPS, Math.floor((this.#gpu.flopsPerSecond * (SUBMIT_MS / 1000)) / flops)),
    );
    let previous = Infinity;
    for (let round = 1; ; round++) {
      for (let done = 0; done < STEPS; done += together) {
        if (done > 0) await this.#task.computed();
        this.#run(Array.from({ length: Math.min(together, STEPS - done) }, () => power).flat());
      }
      const results = await this.#results(chosenCount);
      const found = this.#components(results.pairs, results.scores, wanted, chosenCount);
      const error = Math.max(0, ...found.map((component) => component.error));
      // Where more steps do not help, rounding or a spectrum without gaps is the reason, and this is as good
      // as it gets.
      if (error <= TOLERANCE || error > 0.9 * previous || round === ROUNDS) {
        return { mean: results.mean, totalVariance: results.totalVariance, components: found };
      }
      previous = error;
    }
  }

  #components(
    { values, vectors, shares, errors }: RitzPairs,
    scores: Float32Array,
    wanted: number,
    chosenCount: number,
  ): Component[] {
    const significant = [...values.subarray(0, wanted)].filter(
      (value) => value > SMALLEST_RATIO * values[0]!,
    );
    return significant.map((value, k) => {
      const sign = signOf(vectors[k]!);
      const share = shares[k]!.map((part) => sign * part);
      return {
        variance: value / chosenCount,
        vector: vectors[k]!.map((entry) => sign * entry),
        scores: Float64Array.from({ length: this.count }, (_, patch) =>
          dot(share, scores.subarray(patch * BLOCK, (patch + 1) * BLOCK)),
        ),
        error: errors[k]!,
      };
    });
  }

  #run(steps: readonly Step[], before?: (burst: Burst) => void): void {
    this.#task.burst((burst) => {
      before?.(burst);
      const pass = burst.pass();
      for (const { kernel, group, workgroups } of steps) {
        pass.setPipeline(kernel.pipeline);
        pass.setBindGroup(0, group);
        pass.dispatchWorkgroups(...workgroups);
      }
    });
  }

  /** Reads back, in one go, what the CPU needs. */
  async #results(
    chosenCount: number,
  ): Promise<{ mean: Float64Array; totalVariance: number; pairs: RitzPairs; scores: Float32Array }> {
    const { results } = this.#buffers;
    const sizes = bufferSizes(this.count, this.#embedDim);
    const at = { vectors: 0, product: 0, scores: 0, mean: 0, squares: 0 };
    let elements = 0;
    this.#task.burst((burst) => {
      for (const name of Object.keys(at) as (keyof typeof at)[]) {
        at[name] = elements;
        burst.copy(this.#buffers[name], 0, results, elements * F32_BYTES, sizes[name] * F32_BYTES);
        elements += sizes[name];
      }
    });
    const all = new Float32Array(await this.#task.read(results, 0, elements * F32_BYTES));
    const part = (name: keyof typeof at): Float32Array => all.subarray(at[name], at[name] + sizes[name]);
    const totalVariance = part('squares').reduce((sum, value) => sum + value, 0) / chosenCount;
    if (!Number.isFinite(totalVariance)) {
      throw new ImageError(
        'INPUT_NOT_FINITE',
        'PCA.fit: expected finite features, found NaN or infinity among the patches. Look for it in the pixels or the weights that they come from.',
      );
    }
    const pairs = ritzPairs(part('vectors'), part('product'), BLOCK, this.#embedDim);
    return { mean: Float64Array.from(part('mean')), totalVariance, scores: part('scores'), pairs };
  }
}
