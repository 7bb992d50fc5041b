/**
 * Principal component analysis of patch tokens on the GPU. The patches stay on the GPU, where block power
 * iteration with eight vectors runs. Only small results are read back (the vectors, their products, eight
 * scores per patch). The CPU finishes these results in float64.
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

/** The part of features that a PCA reads. `Features` implements it. */
export interface PatchFeatures {
  /**
   * The GPU that holds the features.
   * @internal
   */
  readonly gpu: Gpu;
  /**
   * The tokens: f32 (batch, numTokens, embedDim) on the GPU, in the order cls, registers, patches (rows ·
   * cols, row by row).
   */
  readonly buffer: GPUBuffer;
  /**
   * Lease of the buffer's owner. A lease delays the release of the buffer until the call has ended. The lease
   * is needed only if the owner may be disposed during the call.
   * @internal
   */
  readonly lease?: Lease | undefined;
  /** Number of images. */
  readonly batch: number;
  /** Tokens per image. */
  readonly numTokens: number;
  /** Register tokens per image. */
  readonly numRegisterTokens: number;
  /** Patch rows of an image. */
  readonly rows: number;
  /** Patch columns of an image. */
  readonly cols: number;
  /** Length of a token's vector. */
  readonly embedDim: number;
}

/** Principal components of the selected patches, the largest variance first. */
export interface Analysis {
  /** Mean of the selected patches before `analyse` centred them: (embedDim). */
  readonly mean: Float64Array;
  /** Sum of the variances of all channels. Variances are divided by the number of patches. */
  readonly totalVariance: number;
  /** The requested number of components, or fewer if the patches span fewer directions. */
  readonly components: readonly Component[];
}

export interface Component {
  /** Variance of the patches along the vector, divided by the number of patches. */
  readonly variance: number;
  /** Unit vector (embedDim). */
  readonly vector: Float64Array;
  /** Score of every patch in the matrix. The score of a patch that was not selected has no meaning. */
  readonly scores: Float64Array;
  /** Estimated angular error of the vector in radians, from the convergence of the iteration. */
  readonly error: number;
}

/** Number of groups into which the patches are divided. Each group has its own partial sums. */
export const CHUNKS = 16;
/**
 * Number of iterations of the power iteration per round. After each round, the result is read back and
 * checked.
 */
const STEPS = 10;
/** Maximum number of rounds. */
const ROUNDS = 8;
/**
 * Accepted angular error of a component in radians (0.011°). f32 rounding limits the accuracy of components
 * with a small variance.
 */
const TOLERANCE = 2e-4;
/**
 * Smallest variance of a component relative to the first component. A smaller variance is f32 rounding noise.
 */
const SMALLEST_RATIO = 1e-6;
/** Returns the number of ones in a mask. */
export const countOf = (mask: Uint32Array): number => mask.reduce((sum, value) => sum + value, 0);

/** A prepared dispatch of one kernel. */
interface Step {
  readonly kernel: CompiledKernel;
  readonly group: GPUBindGroup;
  readonly workgroups: readonly [number, number];
}

/** Returns the number of four-byte elements in each buffer, except the buffer `size`. */
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

/** A matrix of patches on the GPU, one patch per row, with the buffers and kernels of its analysis. */
export class PatchMatrix {
  /** Total number of patches of all images. */
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
   * Copies the patches of all images into a matrix. The task owns the buffers. All images must be on one
   * device and have equal `embedDim`.
   */
  static async create(task: Task, images: readonly PatchFeatures[]): Promise<PatchMatrix> {
    const { gpu, embedDim } = images[0]!;
    const constants = { EMBED_DIM: embedDim, NUM_CHUNKS: CHUNKS };
    const { pcaColumnSums, pcaCenter, pcaScores, pcaPartials, pcaProduct, pcaOrthonormalize } = kernels;
    const all = [pcaColumnSums, pcaCenter, pcaScores, pcaPartials, pcaProduct, pcaOrthonormalize];
    const compiled = await Promise.all(all.map((kernel) => gpu.pipelines.compile({ kernel, constants })));
    const count = images.reduce((sum, { batch, rows, cols }) => sum + batch * rows * cols, 0);
    task.use(...images.flatMap(({ lease }) => lease ?? []));
    return task.burst((burst) => {
      const partial: Partial<Record<keyof Buffers, GPUBuffer>> = {
        size: burst.uniformOf('PCA size', [count, 0, 0]),
      };
      for (const [name, elements] of Object.entries(bufferSizes(count, embedDim)))
        partial[name as keyof Buffers] = burst.storage(`PCA ${name}`, elements * F32_BYTES);
      const buffers = partial as Buffers;
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
   * Finds the directions of largest variance of the selected patches. Overwrites the matrix: selected patches
   * are centred on their mean, the other patches become zero.
   * @param chosen mask: 1 for a selected patch, else 0
   * @param numComponents number of components, less than BLOCK. The iteration needs fewer steps for fewer
   *   components
   */
  async analyse(chosen: Uint32Array<ArrayBuffer>, numComponents: number): Promise<Analysis> {
    const chosenCount = countOf(chosen);
    const { size, chosen: flags, vectors } = this.#buffers;
    this.#run([...this.#center, ...this.#multiply], (burst) => {
      burst.write(size, 0, new Uint32Array([this.count, Math.ceil(this.count / CHUNKS), chosenCount]));
      burst.write(flags, 0, chosen);
      burst.write(vectors, 0, startVectors(this.#embedDim));
    });

    const power = [this.#orthonormalize, ...this.#multiply];
    const flops = 4 * BLOCK * this.count * this.#embedDim; // per step of the iteration
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
      const components = this.#components(results.pairs, results.scores, numComponents, chosenCount);
      const error = Math.max(0, ...components.map((component) => component.error));
      // If a round hardly reduces the error, rounding or equal variances prevent further convergence.
      if (error <= TOLERANCE || error > 0.9 * previous || round === ROUNDS) {
        return { mean: results.mean, totalVariance: results.totalVariance, components };
      }
      previous = error;
    }
  }

  /**
   * Computes the products of every patch, as it is in the matrix, with vectors (embedDim): (vectors, patches).
   * @param vectors at most BLOCK
   */
  async products(vectors: readonly Float64Array[]): Promise<Float64Array[]> {
    const { vectors: block, scores } = this.#buffers;
    const padded = new Float32Array(BLOCK * this.#embedDim);
    vectors.forEach((vector, k) => padded.set(vector, k * this.#embedDim));
    this.#run(this.#multiply.slice(0, 1), (burst) => burst.write(block, 0, padded));
    const all = new Float32Array(await this.#task.read(scores, 0, this.count * BLOCK * F32_BYTES));
    return vectors.map((_, k) =>
      Float64Array.from({ length: this.count }, (__, patch) => all[patch * BLOCK + k]!),
    );
  }

  #components(
    { values, vectors, shares, errors }: RitzPairs,
    scores: Float32Array,
    numComponents: number,
    chosenCount: number,
  ): Component[] {
    const significant = [...values.subarray(0, numComponents)].filter(
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

  /** Reads all results of an analysis back from the GPU in a single read. */
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
        'PCA.fit: expected finite features, found NaN or infinity among the patches. Check the pixels and the weights for NaN and infinity.',
      );
    }
    const pairs = ritzPairs(part('vectors'), part('product'), BLOCK, this.#embedDim);
    return { mean: Float64Array.from(part('mean')), totalVariance, scores: part('scores'), pairs };
  }
}
