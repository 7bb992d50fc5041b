/**
 * Where a model's weights live: buffers on the GPU, position embeddings here. Filled by packed bytes.
 */
import type { Gpu } from '../gpu/device.js';
import type { WeightStorage } from '../gpu/kernels/kernel.js';
import type { Task } from '../gpu/task.js';
import type { Parameter } from './huggingFace.js';
import { packedBytes } from './packing.js';

/** A model's weights. The owner destroys the buffers. */
export interface Weights {
  /**
   * By our names. Matrices are packed in panels (packing.ts), all else is f32 as it is. `mask_token` is there
   * if the file has it.
   */
  readonly buffers: ReadonlyMap<string, GPUBuffer>;
  /**
   * Position embeddings (1 + grid², embedDim), kept here because they are interpolated anew for every image
   * size.
   */
  readonly posEmbed: Float32Array<ArrayBuffer>;
  /** Tells the checkpoint's matrices from others, in whatever type they are stored (matrixSample.ts). */
  readonly matrices: string;
}

export const elementsOf = ({ shape }: Parameter): number =>
  shape.reduce((product, extent) => product * extent, 1);

/** Packed in panels: everything that a linear layer multiplies by. */
export const isMatrix = ({ name, shape }: Parameter): boolean => name.endsWith('.weight') && shape.length > 1;

/** Bytes that a parameter takes when it is packed, wherever it lies. */
export function parameterBytes(parameter: Parameter, storage: WeightStorage): number {
  const { shape } = parameter;
  return isMatrix(parameter)
    ? packedBytes(shape[0]!, elementsOf(parameter) / shape[0]!, storage)
    : elementsOf(parameter) * 4;
}

export class WeightMemory implements Weights {
  readonly buffers: Map<string, GPUBuffer> = new Map();
  readonly posEmbed: Float32Array<ArrayBuffer>;
  /** Empty until all is there. */
  matrices = '';
  readonly #gpu: Gpu;

  private constructor(gpu: Gpu, posEmbed: Float32Array<ArrayBuffer>) {
    this.#gpu = gpu;
    this.posEmbed = posEmbed;
  }

  /** Room for these parameters. @throws DeviceError; nothing is left behind then */
  static async create(
    gpu: Gpu,
    parameters: readonly Parameter[],
    storage: WeightStorage,
  ): Promise<WeightMemory> {
    const posEmbed = parameters.find(({ name }) => name === 'pos_embed');
    const memory = new WeightMemory(gpu, new Float32Array(posEmbed ? elementsOf(posEmbed) : 0));
    const buffers = await gpu.make('weights', (burst) =>
      parameters
        .filter((parameter) => parameter !== posEmbed)
        .map((parameter) => {
          const bytes = parameterBytes(parameter, storage);
          return [parameter.name, burst.storage(parameter.name, bytes)] as const;
        }),
    );
    for (const [name, buffer] of buffers) memory.buffers.set(name, buffer);
    return memory;
  }

  /**
   * Packed bytes, which belong at byte `offset` (a multiple of 4) of a parameter; they may be overwritten
   * after the call.
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
