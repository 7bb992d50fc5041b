/** Named tensors, as they arrive → weights on the GPU, in the element type and order that the kernels read. Never the whole file in memory. */
import { CheckpointError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { WeightStorage } from '../gpu/kernel.js';
import { bf16ToF32, f16ToF32, f32ToF32 } from './float.js';
import { placeTensors, type Parameter } from './names.js';
import { bytesPerElement, PackingMemory, PanelPacker, packedBytes } from './packing.js';
import { dtypeBits, type TensorInfo } from './safetensors.js';
import type { TensorPiece, TensorStream } from './tensorStream.js';

export interface LoadProgress {
  /** Tensors of the file that have arrived whole, of all that it has. */
  readonly loadedTensors: number;
  readonly totalTensors: number;
}

export interface WeightOptions {
  /** How the matrices are stored. Biases, norms, layer scales and tokens are always f32. */
  readonly storage: WeightStorage;
  readonly signal?: AbortSignal | undefined;
  readonly onTensor?: ((progress: LoadProgress) => void) | undefined;
}

/** A model's weights. The owner destroys the buffers. */
export interface Weights {
  /** By our names. Matrices are packed in panels (packing.ts), all else is f32 as it is. `mask_token` is there if the file has it. */
  readonly buffers: ReadonlyMap<string, GPUBuffer>;
  /** Position embeddings (1 + grid², embedDim), kept here because they are interpolated anew for every image size. */
  readonly posEmbed: Float32Array<ArrayBuffer>;
}

/** Where a parameter's values go: they come in portions, each from an element of the parameter on. */
interface Sink {
  add(values: Float32Array, begin: number): void;
  /** No value may reach this. */
  readonly limit: number;
}

/** From here on, the nearest f16 is infinity. */
const F16_LIMIT = 65_520;

/**
 * Loads every parameter. On any failure, an abort included, no buffer is left behind.
 * @throws CheckpointError if tensors are missing, surplus, misshapen, or hold NaN, infinity or what the storage cannot hold
 */
export async function loadWeights(gpu: Gpu, stream: TensorStream, parameters: readonly Parameter[], { storage, signal, onTensor }: WeightOptions): Promise<Weights> {
  const created: GPUBuffer[] = [];
  try {
    const { placements } = placeTensors(stream.header, parameters);
    const present = new Set([...placements.values()].map(({ parameter }) => parameter)); // all but, perhaps, mask_token
    const byName = new Map(parameters.map((parameter) => [parameter.name, parameter]));
    const buffers = new Map<string, GPUBuffer>();
    const sinks = new Map<string, Sink>();
    let posEmbed = new Float32Array(0);

    const bufferOf = (name: string, bytes: number): GPUBuffer => {
      const buffer = gpu.memory.storage(name, bytes);
      created.push(buffer);
      buffers.set(name, buffer);
      return buffer;
    };
    const { queue } = gpu.device;
    const memory = new PackingMemory();
    await gpu.allocating(() => {
      for (const { name, shape } of parameters) {
        if (!present.has(name)) continue;
        const elements = shape.reduce((product, extent) => product * extent, 1);
        if (name === 'pos_embed') {
          posEmbed = new Float32Array(elements);
          sinks.set(name, { add: (values, begin) => posEmbed.set(values, begin), limit: Infinity });
        } else if (name.endsWith('.weight') && shape.length > 1) {
          const [rows, columns] = [shape[0]!, elements / shape[0]!];
          const buffer = bufferOf(name, packedBytes(rows, columns, storage));
          const packer = new PanelPacker(rows, columns, storage, (offset, data) => queue.writeBuffer(buffer, offset, data), memory);
          sinks.set(name, { add: (values, begin) => packer.add(values, begin), limit: bytesPerElement[storage] === 2 ? F16_LIMIT : Infinity });
        } else {
          const buffer = bufferOf(name, elements * 4);
          sinks.set(name, { add: (values, begin) => queue.writeBuffer(buffer, begin * 4, values as Float32Array<ArrayBuffer>), limit: Infinity });
        }
      }
    });

    const totalTensors = stream.header.tensors.size;
    let loadedTensors = 0;
    const values = new Float32Array(SCRATCH_ELEMENTS);
    for await (const piece of stream.pieces) {
      signal?.throwIfAborted();
      const placement = placements.get(piece.name);
      const sink = placement && sinks.get(placement.parameter);
      if (sink) {
        const parameter = byName.get(placement.parameter)!;
        const perRow = parameter.shape.slice(1).reduce((product, extent) => product * extent, 1);
        deliver(piece, sink, placement.rowBegin * perRow, values);
      }
      if (piece.info.begin + piece.offset + piece.bytes.length === piece.info.end) {
        loadedTensors += 1;
        onTensor?.({ loadedTensors, totalTensors });
      }
    }
    signal?.throwIfAborted();
    gpu.check();
    return { buffers, posEmbed };
  } catch (error) {
    for (const buffer of created) gpu.memory.destroy(buffer);
    await stream.cancel(error).catch(() => undefined); // the first error is the one to tell
    throw error;
  }
}

/** Values are converted and handed on in portions of this many, which keeps the scratch at 1 MiB whatever the tensor. */
const SCRATCH_ELEMENTS = 2 ** 18;

function deliver({ name, info, offset, bytes }: TensorPiece, sink: Sink, begin: number, scratch: Float32Array): void {
  const width = dtypeBits(info.dtype)! / 8;
  const count = bytes.length / width;
  for (let done = 0; done < count; done += scratch.length) {
    const portion = Math.min(scratch.length, count - done);
    convert(info, bytes.subarray(done * width, (done + portion) * width), scratch);
    const values = scratch.subarray(0, portion);
    check(name, values, offset / width + done, sink.limit);
    sink.add(values, begin + offset / width + done);
  }
}

function convert(info: TensorInfo, bytes: Uint8Array, out: Float32Array): void {
  if (info.dtype === 'F32') f32ToF32(bytes, out);
  else if (info.dtype === 'F16') f16ToF32(bytes, out);
  else bf16ToF32(bytes, out); // placeTensors has refused everything else
}

function check(name: string, values: Float32Array, begin: number, limit: number): void {
  const at = values.findIndex((value) => !(Math.abs(value) < limit)); // NaN is less than nothing
  if (at < 0) return;
  const found = `found ${values[at]} at element ${begin + at}`;
  if (Number.isFinite(values[at])) {
    throw new CheckpointError('CHECKPOINT_RANGE', `${name}: expected weights below ${limit}, which is where fp16 ends, ${found}. Load it with dtype: 'fp32'.`);
  }
  throw new CheckpointError('CHECKPOINT_NOT_FINITE', `${name}: expected finite weights, ${found}. The file is damaged or was written by a training run that diverged; get it again.`);
}
