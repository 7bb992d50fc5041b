/**
 * A checkpoint → the same in a narrower element type, tensor by tensor, as a safetensors file that loads
 * directly. Needs no GPU.
 */
import { bf16ToF32, f16ToF32, f32ToF16, f32ToF32 } from '../checkpoint/float.js';
import { convertedFrom, MATRICES, MatrixSample, originalOf } from '../checkpoint/matrixSample.js';
import { placeTensors, type Parameter } from '../checkpoint/names.js';
import { int8Scale } from '../checkpoint/panelMemory.js';
import { scaleName } from '../checkpoint/quantized.js';
import {
  dtypeBits,
  encodeSafetensorsHeader,
  type SafetensorsDtype,
  type SafetensorsHeader,
  type TensorInfo,
  type TensorSpec,
} from '../checkpoint/safetensors.js';
import type { TensorStream } from '../checkpoint/tensorStream.js';
import { elementsOf, isMatrix as isPacked } from '../checkpoint/weightMemory.js';
import { CheckpointError } from '../errors.js';
import { inferConfig } from '../model/config.js';
import { parameters } from '../model/parameters.js';

export type ConvertedDtype = 'fp16' | 'int8';

/** Writes bytes of the new file, at any position of it. They may change after the promise has resolved. */
export type WriteAt = (position: number, bytes: Uint8Array) => Promise<void>;

/** From here on, the nearest f16 is infinity. */
const F16_LIMIT = 65_520;

/** What a linear layer multiplies by. All else is small, and stays as it is. */
const isMatrix = (name: string, { shape }: TensorInfo): boolean =>
  name.endsWith('.weight') && shape.length > 1;
/** Classifiers are read on the CPU, which takes no int8. */
const isHead = (name: string): boolean => /^(classifier|linear_head|linear)\./.test(name);

function targetDtype(name: string, info: TensorInfo, dtype: ConvertedDtype): SafetensorsDtype {
  if (!isMatrix(name, info)) return info.dtype;
  return dtype === 'int8' && !isHead(name) ? 'I8' : 'F16';
}

/** What tells a model's matrices from others: as they were, and as they are in the new file. */
class Samples {
  readonly #before = new MatrixSample();
  readonly #after = new MatrixSample();
  readonly #places: ReadonlyMap<string, { readonly parameter: Parameter; readonly begin: number }>;

  /** @throws CheckpointError as `placeTensors`; a file that is no DINOv2 has nothing to tell apart */
  constructor(header: SafetensorsHeader) {
    const config = inferConfig(header);
    const wanted = config ? parameters(config) : [];
    const placements = config ? [...placeTensors(header, wanted).placements] : [];
    this.#places = new Map(
      placements.flatMap(([name, { parameter: ours, rowBegin }]) => {
        const parameter = wanted.find((candidate) => candidate.name === ours)!;
        return isPacked(parameter)
          ? [[name, { parameter, begin: (rowBegin * elementsOf(parameter)) / parameter.shape[0]! }]]
          : [];
      }),
    );
  }

  /** Values of a tensor from its element `first` on. */
  add(when: 'before' | 'after', name: string, values: Float32Array, first: number): void {
    const place = this.#places.get(name);
    if (place)
      (when === 'before' ? this.#before : this.#after).add(
        place.parameter.name,
        elementsOf(place.parameter),
        values,
        place.begin + first,
      );
  }

  /** What to write into the new file's metadata. */
  metadata(source: ReadonlyMap<string, string>): [string, string][] {
    return this.#places.size === 0
      ? []
      : [[MATRICES, convertedFrom(this.#after.digest, originalOf(this.#before.digest, source))]];
  }
}

/**
 * Converts a checkpoint: matrices to F16, or to I8 with one F32 scale a row (`NAME_scale`: quantized.ts);
 * everything else keeps its element type. The file says in its metadata what its matrices were, so that it
 * has the fingerprint of the original.
 * @returns the new file's header
 * @throws CheckpointError CHECKPOINT_DTYPE, CHECKPOINT_NOT_FINITE, CHECKPOINT_RANGE, CHECKPOINT_TENSORS,
 *   CHECKPOINT_NAMING; what the stream throws
 */
export async function convertCheckpoint(
  stream: TensorStream,
  dtype: ConvertedDtype,
  write: WriteAt,
): Promise<SafetensorsHeader> {
  const specs = new Map<string, TensorSpec>();
  for (const [name, info] of stream.header.tensors) {
    const to = targetDtype(name, info, dtype);
    if (isMatrix(name, info) && !['F32', 'F16', 'BF16'].includes(info.dtype)) {
      throw new CheckpointError(
        'CHECKPOINT_DTYPE',
        `${name}: expected F32, F16 or BF16, found ${info.dtype}. Convert the original checkpoint.`,
      );
    }
    specs.set(name, { dtype: to, shape: info.shape });
    if (to !== 'I8') continue;
    if (stream.header.tensors.has(scaleName(name))) {
      throw new CheckpointError(
        'CHECKPOINT_TENSORS',
        `${scaleName(name)}: expected no tensor of this name, which that of the scales of ${name} will be, found one. Convert the original checkpoint.`,
      );
    }
    specs.set(scaleName(name), { dtype: 'F32', shape: [info.shape[0]!] });
  }
  const samples = new Samples(stream.header);
  const encode = (): ReturnType<typeof encodeSafetensorsHeader> =>
    encodeSafetensorsHeader(
      specs,
      new Map([
        ...stream.header.metadata,
        ['converted_to', dtype],
        ...samples.metadata(stream.header.metadata),
      ]),
    );
  const { header } = encode(); // digests are of one length: so are headers
  let row = new Float32Array(0); // values of a row that is not whole yet
  let filled = 0;
  for await (const { name, info, offset, bytes } of stream.pieces) {
    const to = header.tensors.get(name)!;
    if (!isMatrix(name, info)) {
      await write(to.begin + offset, bytes);
      continue;
    }
    const width = dtypeBits(info.dtype)! / 8;
    const values = new Float32Array(bytes.length / width);
    (info.dtype === 'F32' ? f32ToF32 : info.dtype === 'F16' ? f16ToF32 : bf16ToF32)(bytes, values);
    const first = offset / width;
    samples.add('before', name, values, first);
    checkValues(name, values, first, to.dtype === 'F16' ? F16_LIMIT : Infinity);
    if (to.dtype === 'F16') {
      const halves = new Uint16Array(values.length);
      f32ToF16(values, halves);
      f16ToF32(new Uint8Array(halves.buffer), values);
      samples.add('after', name, values, first);
      await write(to.begin + 2 * first, new Uint8Array(halves.buffer));
      continue;
    }
    const columns = info.shape.slice(1).reduce((product, extent) => product * extent, 1);
    if (row.length !== columns) row = new Float32Array(columns);
    const scales: number[] = [];
    const integers = new Int8Array(Math.floor((filled + values.length) / columns) * columns);
    const rounded = new Float32Array(integers.length);
    const firstRow = Math.floor((first - filled) / columns);
    for (let at = 0, to_ = 0; at < values.length;) {
      const count = Math.min(columns - filled, values.length - at);
      row.set(values.subarray(at, at + count), filled);
      at += count;
      filled += count;
      if (filled < columns) break;
      const scale = int8Scale(row.reduce((most, value) => Math.max(most, Math.abs(value)), 0));
      scales.push(scale);
      for (const value of row) {
        integers[to_] = Math.round(value / (scale || 1));
        rounded[to_] = integers[to_]! * scale; // as loading reads it
        to_++;
      }
      filled = 0;
    }
    samples.add('after', name, rounded, firstRow * columns);
    await write(to.begin + firstRow * columns, new Uint8Array(integers.buffer));
    await write(
      header.tensors.get(scaleName(name))!.begin + 4 * firstRow,
      new Uint8Array(Float32Array.from(scales).buffer),
    );
  }
  const { bytes: head, header: finished } = encode();
  await write(0, head);
  return finished;
}

function checkValues(name: string, values: Float32Array, begin: number, limit: number): void {
  const at = values.findIndex((value) => !(Math.abs(value) < limit));
  if (at < 0) return;
  const found = `found ${values[at]} at element ${begin + at}`;
  if (Number.isFinite(values[at]))
    throw new CheckpointError(
      'CHECKPOINT_RANGE',
      `${name}: expected weights below ${limit}, which is where fp16 ends, ${found}. Keep this checkpoint in fp32, or convert it to int8.`,
    );
  throw new CheckpointError(
    'CHECKPOINT_NOT_FINITE',
    `${name}: expected finite weights, ${found}. The file is damaged; get it again.`,
  );
}
