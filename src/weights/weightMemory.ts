/** Holds a model's weights: GPU buffers, and position embeddings in JavaScript memory. */
import type { Gpu } from '../gpu/device.js';
import type { WeightStorage } from '../gpu/kernels/kernel.js';
import type { Task } from '../gpu/task.js';
import type { Parameter } from './huggingFace.js';
import { packedBytes } from './packing.js';

/** A model's weights. Their owner must destroy the buffers. */
export interface Weights {
  /**
   * GPU buffers by our parameter names. Matrices are packed in panels (packing.ts), all other parameters are
   * plain f32. `mask_token` is present only if the file has it.
   */
  readonly buffers: ReadonlyMap<string, GPUBuffer>;
  /**
   * Position embeddings (1 + grid², embedDim). They stay in JavaScript memory, because they are interpolated
   * for every image size.
   */
  readonly posEmbed: Float32Array<ArrayBuffer>;
  /** True if a matrix that is stored as f16 has a weight that is too large for f16 arithmetic. */
  readonly large: boolean;
  /** Digest of the checkpoint's matrices, independent of their element type (matrixSample.ts). */
  readonly matrices: string;
}

export const elementsOf = ({ shape }: Parameter): number =>
  shape.reduce((product, extent) => product * extent, 1);

/** Returns whether a parameter is the matrix of a linear layer. Such matrices are packed in panels. */
export const isMatrix = ({ name, shape }: Parameter): boolean => name.endsWith('.weight') && shape.length > 1;

/** Returns the size in bytes of a packed parameter. */
export function parameterBytes(parameter: Parameter, storage: WeightStorage): number {
  const { shape } = parameter;
  return isMatrix(parameter)
    ? packedBytes(shape[0]!, elementsOf(parameter) / shape[0]!, storage)
    : elementsOf(parameter) * 4;
}

export class WeightMemory implements Weights {
  readonly buffers: Map<string, GPUBuffer> = new Map();
  readonly posEmbed: Float32Array<ArrayBuffer>;
  large = false;
  /** Digest of the checkpoint's matrices; empty until all weights are loaded. */
  matrices = '';
  readonly #gpu: Gpu;

  private constructor(gpu: Gpu, posEmbed: Float32Array<ArrayBuffer>) {
    this.#gpu = gpu;
    this.posEmbed = posEmbed;
  }

  /**
   * Allocates GPU buffers for these parameters. @throws DeviceError, after freeing all buffers that were
   * allocated
   */
  static async create(
    gpu: Gpu,
    parameters: readonly Parameter[],
    storage: WeightStorage,
  ): Promise<WeightMemory> {
    const posEmbed = parameters.find(({ name }) => name === 'pos_embed');
    const memory = new WeightMemory(gpu, new Float32Array(posEmbed ? elementsOf(posEmbed) : 0));
    const onGpu = parameters.filter((parameter) => parameter !== posEmbed);
    const buffers = await gpu
      .make('weights', (burst) =>
        onGpu.map((parameter) => {
          const bytes = parameterBytes(parameter, storage);
          return [parameter.name, burst.storage(parameter.name, bytes)] as const;
        }),
      )
      .catch(async (error: unknown) => {
        const part = await import('./storageAdvice.js').catch(() => undefined);
        throw part?.withStorageAdvice(error, onGpu, storage, parameterBytes) ?? error;
      });
    for (const [name, buffer] of buffers) memory.buffers.set(name, buffer);
    return memory;
  }

  /**
   * Writes packed bytes at byte `offset` (a multiple of 4) of a parameter's buffer. The caller may overwrite
   * `bytes` after the call.
   */
  write(task: Task, name: string, offset: number, bytes: Uint8Array<ArrayBuffer>): void {
    if (name === 'pos_embed') new Uint8Array(this.posEmbed.buffer).set(bytes, offset);
    else task.burst((burst) => burst.write(this.buffers.get(name)!, offset, bytes));
  }

  destroy(): void {
    for (const buffer of this.buffers.values()) this.#gpu.memory.destroy(buffer);
    this.buffers.clear();
  }
}
