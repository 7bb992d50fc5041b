/**
 * Loads weights to the GPU while tensors arrive, in the element type and order that the kernels read. The
 * whole file is never in memory.
 */
import { CheckpointError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { SETTLE_BYTES, type Task } from '../gpu/task.js';
import type { WeightStorage } from '../gpu/kernels/kernel.js';
import { loadPart } from '../platform/part.js';
import { MatrixSample, originalOf } from './matrixSample.js';
import type { Parameter, PlacedTensors } from './huggingFace.js';
import { PanelPacker, weightLimit } from './packing.js';
import { PackingMemory } from './panelMemory.js';
import type { RowScales } from './quantized.js';
import { dtypeBits } from '../safetensors.js';
import type { TensorPiece, TensorStream } from '../safetensors/tensorStream.js';
import { allBelow, bitsOf } from './turn.js';
import { elementsOf, isMatrix, WeightMemory } from './weightMemory.js';

export interface LoadProgress {
  /** Number of the file's tensors that have arrived completely. */
  readonly loadedTensors: number;
  readonly totalTensors: number;
}

export interface WeightOptions {
  /** Storage layout of the matrices. Biases, norms, layer scales and tokens are always f32. */
  readonly storage: WeightStorage;
  readonly signal?: AbortSignal | undefined;
  readonly onTensor?: ((progress: LoadProgress) => void) | undefined;
}

/** The tensors of a checkpoint, with the parameter that each tensor fills. */
export interface WeightLayout {
  /** All parameters of the model. The checkpoint may lack the mask token only. */
  readonly parameters: readonly Parameter[];
  readonly placements: PlacedTensors['placements'];
  /** Collects the scales of int8 matrices. Undefined if the checkpoint has no scales. */
  readonly rowScales?: RowScales | undefined;
}

type Elements = typeof import('./elements.js');

/**
 * Receives the values of a parameter in portions; each portion begins at a given element of the parameter.
 */
interface Sink {
  /** Returns false if the magnitude of a value is too large for the storage, or if a value is NaN. */
  add(values: Float32Array, begin: number): boolean;
  readonly limit: number;
}

/**
 * Loads every parameter. After any failure, including an abort, no GPU buffer stays allocated.
 * @throws CheckpointError if a tensor holds NaN, infinity or a value that the storage cannot hold
 */
export function loadWeights(
  gpu: Gpu,
  stream: TensorStream,
  layout: WeightLayout,
  options: WeightOptions,
): Promise<WeightMemory> {
  return gpu.task('weights', options.signal, (task) => loadInto(gpu, task, stream, layout, options));
}

async function loadInto(
  gpu: Gpu,
  task: Task,
  stream: TensorStream,
  { parameters, placements, rowScales }: WeightLayout,
  options: WeightOptions,
): Promise<WeightMemory> {
  const { storage, signal, onTensor } = options;
  const sample = new MatrixSample();
  try {
    const present = new Set([...placements.values()].map(({ parameter }) => parameter)); // only the mask token may be missing
    const weights = await WeightMemory.create(
      gpu,
      parameters.filter(({ name }) => present.has(name)),
      storage,
    );
    for (const buffer of weights.buffers.values()) task.keep(buffer); // if the task fails, it destroys them
    let unsettledBytes = 0;
    const write = (name: string, offset: number, bytes: Uint8Array<ArrayBuffer>): void => {
      weights.write(task, name, offset, bytes);
      unsettledBytes += bytes.length;
    };
    const sinks = new Map<string, Sink>();
    const memory = new PackingMemory();
    for (const parameter of parameters) {
      const { name, shape } = parameter;
      if (isMatrix(parameter)) {
        const columns = perRow(parameter);
        const packer = new PanelPacker(
          shape[0]!,
          columns,
          storage,
          (offset, data) => write(name, offset, data),
          memory,
        );
        const add = (values: Float32Array, begin: number): boolean => {
          const within = packer.add(values, begin);
          weights.large ||= packer.large;
          sample.add(name, elementsOf(parameter), values, begin);
          return within;
        };
        sinks.set(name, { add, limit: weightLimit(storage) });
      } else {
        const add = (values: Float32Array, begin: number): boolean => {
          write(name, begin * 4, asBytes(values));
          return allBelow(Infinity, bitsOf(values));
        };
        sinks.set(name, { add, limit: Infinity });
      }
    }

    const isPlain = [...stream.header.tensors.values()].every(({ dtype }) => dtype === 'F32');
    const elements = isPlain ? undefined : await loadPart(import('./elements.js'));
    const totalTensors = stream.header.tensors.size;
    let loadedTensors = 0;
    const scratch = new Scratch();
    for await (const piece of stream.pieces) {
      signal?.throwIfAborted();
      const { name, info, offset, bytes } = piece;
      const placement = placements.get(name);
      const sink = placement && sinks.get(placement.parameter);
      const came = rowScales?.add(name, offset, bytes);
      if (came && !allBelow(Infinity, bitsOf(came))) throw outOfRange(name, came, offset / 4, Infinity);
      if (sink) {
        const { parameter, begin } = placement;
        // The class token's position embedding is zero, because timm has added it to the class token.
        if (parameter === 'pos_embed' && begin > 0 && offset === 0) sink.add(new Float32Array(begin), 0);
        addPiece(piece, sink, begin, scratch, elements, rowScales?.of(name));
        if (unsettledBytes >= SETTLE_BYTES) {
          await task.settled();
          unsettledBytes = 0;
        }
      }
      if (info.begin + offset + bytes.length === info.end) {
        loadedTensors += 1;
        onTensor?.({ loadedTensors, totalTensors });
      }
    }
    signal?.throwIfAborted();
    await task.settled();
    weights.matrices = originalOf(sample.digest, stream.header.metadata);
    return weights;
  } catch (error) {
    await stream.cancel(error).catch(() => undefined); // a second error must not hide the first
    throw error;
  }
}

/** Returns the number of elements in a row: the product of all dimensions after the first. */
const perRow = ({ shape }: { readonly shape: readonly number[] }): number =>
  shape.slice(1).reduce((product, extent) => product * extent, 1);

const asBytes = (values: Float32Array): Uint8Array<ArrayBuffer> =>
  new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength);

/**
 * The largest number of values that are converted at once, so that the scratch memory is 1 MiB for any
 * tensor.
 */
const PORTION_ELEMENTS = 2 ** 18;

/** Memory for a portion of values, allocated when values have to be converted. */
class Scratch {
  #values: Float32Array<ArrayBuffer> | undefined;

  take(elements: number): Float32Array<ArrayBuffer> {
    return (this.#values ??= new Float32Array(PORTION_ELEMENTS)).subarray(0, elements);
  }
}

/**
 * Passes the values of a piece to the sink.
 * @param begin index within the parameter of the tensor's first element
 * @param elements decoders of the element types; undefined if all tensors are F32
 * @param scales the scales of the tensor's rows, if the tensor is int8
 */
function addPiece(
  { name, info, offset, bytes }: TensorPiece,
  sink: Sink,
  begin: number,
  scratch: Scratch,
  elements: Elements | undefined,
  scales: Float32Array | undefined,
): void {
  const width = dtypeBits(info.dtype)! / 8;
  const count = bytes.length / width;
  const first = offset / width;
  for (let done = 0; done < count;) {
    const at = begin + first + done;
    const portion = Math.min(PORTION_ELEMENTS, count - done);
    let values: Float32Array;
    if (!elements || info.dtype === 'F32')
      values = new Float32Array(bytes.buffer as ArrayBuffer, bytes.byteOffset + done * 4, portion); // a view works, because pieces are aligned
    else {
      values = scratch.take(portion);
      const encoded = bytes.subarray(done * width, (done + portion) * width);
      if (scales) elements.decodeInt8(encoded, scales, perRow(info), first + done, values);
      else elements.floatDecoders.get(info.dtype)!(encoded, values);
    }
    if (!sink.add(values, at)) throw outOfRange(name, values, first + done, sink.limit);
    done += portion;
  }
}

/**
 * Creates the error for the first of `values` whose magnitude is not below `limit`, or that is NaN.
 * @param begin index within the tensor of the first of `values`
 */
function outOfRange(name: string, values: Float32Array, begin: number, limit: number): CheckpointError {
  const at = values.findIndex((value) => !(Math.abs(value) < limit)); // true also for NaN
  const found = `found ${values[at]} at element ${begin + at}`;
  if (Number.isFinite(values[at])) {
    return new CheckpointError(
      'CHECKPOINT_RANGE',
      `${name}: expected weights with a magnitude below ${limit}, the limit of fp16, ${found}. Load the model with dtype: 'fp32'.`,
    );
  }
  return new CheckpointError(
    'CHECKPOINT_NOT_FINITE',
    `${name}: expected finite weights, ${found}. The file is damaged or was written by a training run that diverged: get the file again.`,
  );
}
