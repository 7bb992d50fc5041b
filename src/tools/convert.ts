/** Converts a checkpoint, tensor by tensor, to narrower weights and Hugging Face's tensor names. */
import { F16_LIMIT, f32ToF16 } from '../numerics/float16.js';
import { f16ToF32 } from '../numerics/toFloat32.js';
import { floatDecoders } from '../weights/elements.js';
import { watchForHead, type LinearHead, type Watched } from '../weights/head.js';
import { convertedFrom, MATRICES, MatrixSample, originalOf } from '../weights/matrixSample.js';
import { huggingFaceTensors, type Parameter } from '../weights/huggingFace.js';
import { int8Scale } from '../weights/panelMemory.js';
import { readQuantized, scaleName } from '../weights/quantized.js';
import {
  dtypeBits,
  encodeSafetensorsHeader,
  type SafetensorsHeader,
  type TensorSpec,
} from '../safetensors.js';
import type { TensorStream } from '../safetensors/tensorStream.js';
import { elementsOf, isMatrix } from '../weights/weightMemory.js';
import { CheckpointError } from '../errors.js';
import type { Described } from '../load/described.js';
import { headWidths, settleAny } from '../load/anyCheckpoint.js';
import { withoutHead } from '../load/settle.js';
import type { DINOv2Config } from '../model/config.js';
import { configJson } from '../model/configJson.js';
import { HIDDEN_FEATURES, POS_EMBED } from '../model/checkpointConfig.js';
import { labelsOfConfig, labelsOfMeta } from '../tasks/classLabels.js';
import { huggingFaceConfig } from './convertedConfig.js';

export type ConvertedDtype = 'fp16' | 'int8';

/**
 * Writes bytes at a position of the new file. The caller may reuse `bytes` after the promise has resolved.
 */
export type WriteAt = (position: number, bytes: Uint8Array) => Promise<void>;

export interface ConvertOptions {
  /** The checkpoint's config.json, parsed. Default: none. */
  readonly described?: Pick<Described, 'config' | 'hints' | 'globalPool'> | undefined;
  /** Prefix of the model's tensor names. Default: the only prefix with a complete model. */
  readonly prefix?: string | undefined;
}

export interface Converted {
  /** The header of the new file. */
  readonly header: SafetensorsHeader;
  readonly config: DINOv2Config;
  /** Names of tensors in the original file that do not belong to the model. The new file lacks them. */
  readonly setAside: readonly string[];
  /**
   * Sentences that name assumptions about facts that the checkpoint does not state, see
   * `LoadReport.assumed`.
   */
  readonly assumed: readonly string[];
}

/** A tensor of the new file. The tensor holds a range of the elements of one parameter. */
interface Target {
  readonly name: string;
  /** Index within the parameter of the tensor's first element. */
  readonly begin: number;
  readonly elements: number;
}

/** A parameter, and the tensors of the new file that hold the parameter, in order. */
interface ConvertedParameter {
  readonly parameter: Parameter;
  readonly columns: number;
  readonly targets: readonly Target[];
}

const count = (shape: readonly number[]): number => shape.reduce((product, length) => product * length, 1);

/**
 * Converts a checkpoint. Matrices become F16, or I8 with one F32 scale for each row (`NAME_scale`, see
 * quantized.ts); all other tensors of the model become F32. A linear classifier is kept, with F16 weights
 * and an F32 bias. All other tensors are dropped. The metadata of the new file record how positions are
 * interpolated, and a digest of the original matrices, so that the model's fingerprint stays the same.
 * @throws the errors of loading this checkpoint; CheckpointError CHECKPOINT_DTYPE if the checkpoint is
 *   already int8, CHECKPOINT_RANGE if weights are too large for F16
 */
export async function convertCheckpoint(
  stream: TensorStream,
  dtype: ConvertedDtype,
  write: WriteAt,
  { described = {}, prefix }: ConvertOptions = {},
): Promise<Converted> {
  const [scaled] = readQuantized(stream.header).scales.keys();
  if (scaled !== undefined)
    throw new CheckpointError(
      'CHECKPOINT_DTYPE',
      `${scaled}: expected a checkpoint in F32, F16, BF16 or F64, found int8. Convert the original checkpoint.`,
    );
  const { config, tensors, layout } = settleAny(stream.header, described, { prefix });
  const { parameters: wanted, placements } = layout;
  const head = headOf(stream, config, tensors.prefix, described.globalPool);
  const present = new Set([...placements.values()].map(({ parameter }) => parameter));
  const goals = new Map(
    wanted
      .filter(({ name }) => present.has(name))
      .map((parameter) => [parameter.name, goalOf(parameter, head.shape ? prefixBesideHead(config) : '')]),
  );
  const samples = { before: new MatrixSample(), after: new MatrixSample() };
  const encode = (): ReturnType<typeof encodeSafetensorsHeader> =>
    encodeSafetensorsHeader(
      specsOf([...goals.values()], dtype, head.shape, config),
      new Map([
        ...stream.header.metadata,
        ['format', 'pt'],
        ['converted_to', dtype],
        [POS_EMBED, config.posEmbed],
        ...(huggingFaceConfig(config) === config
          ? []
          : [[HIDDEN_FEATURES, String(config.hiddenFeatures)] as const]),
        [
          MATRICES,
          convertedFrom(samples.after.digest, originalOf(samples.before.digest, stream.header.metadata)),
        ],
      ]),
    );
  const { header } = encode(); // the final header will have the same length: it differs only in the digest
  let rows: Rows | undefined;
  for await (const { name, info, offset, bytes } of head.stream.pieces) {
    const placement = placements.get(name);
    const goal = placement && goals.get(placement.parameter);
    if (!goal) continue;
    const width = dtypeBits(info.dtype)! / 8;
    const values = new Float32Array(bytes.length / width);
    floatDecoders.get(info.dtype)!(bytes, values);
    const first = offset / width;
    const begin = placement.begin + first;
    const matrix = isMatrix(goal.parameter);
    checkValues(name, values, first, matrix && dtype === 'fp16' ? F16_LIMIT : Infinity);
    if (matrix) samples.before.add(goal.parameter.name, elementsOf(goal.parameter), values, begin);
    if (goal.parameter.name === 'pos_embed' && placement.begin > 0 && offset === 0)
      await writeRange(header, goal, new Float32Array(placement.begin), 0, write);
    if (!matrix || dtype === 'fp16') {
      await writeRange(header, goal, values, begin, write, matrix ? samples.after : undefined);
      continue;
    }
    if (offset === 0) rows = new Rows(goal, placement.begin);
    await rows!.add(values, header, write, samples.after);
  }
  const found = head.head();
  if (found) await writeHead(header, found, write);
  const { bytes, header: finished } = encode();
  await write(0, bytes);
  return {
    header: finished,
    config,
    setAside: withoutHead(tensors, found).setAside,
    assumed: tensors.assumed,
  };
}

/**
 * Watches the stream for the tensors of the classifier that a load of this checkpoint would use. A classifier
 * named `head` (timm) is used only if the model pools by the class token.
 */
function headOf(stream: TensorStream, config: DINOv2Config, prefix: string, globalPool: unknown): Watched {
  const watched = watchForHead(stream, headWidths(config), prefix);
  return watched.shape?.module === 'head' && (globalPool ?? 'token') !== 'token'
    ? { stream, shape: undefined, head: () => undefined }
    : watched;
}

/** Returns the prefix of the model's tensor names that Hugging Face uses in a file with a classifier. */
const prefixBesideHead = (config: DINOv2Config): string =>
  `${String(configJson(huggingFaceConfig(config))['model_type'])}.`;

function goalOf(parameter: Parameter, prefix: string): ConvertedParameter {
  let begin = 0;
  const targets = huggingFaceTensors([parameter])
    .map(({ name, shape }) => ({ name: prefix + name, elements: count(shape) }))
    .sort((a, b) => order(a.name) - order(b.name))
    .map(({ name, elements }) => {
      begin += elements;
      return { name, begin: begin - elements, elements };
    });
  return { parameter, columns: count(parameter.shape.slice(1)), targets };
}

/**
 * Returns the position of a tensor among the parts of qkv: query, key, value. Sorting by tensor name would
 * give a different order.
 */
const order = (name: string): number =>
  ['query', 'key', 'value'].findIndex((part) => name.includes(`.attention.${part}.`));

function specsOf(
  goals: readonly ConvertedParameter[],
  dtype: ConvertedDtype,
  head: Pick<LinearHead, 'numClasses' | 'inFeatures'> | undefined,
  { embedDim }: DINOv2Config,
): Map<string, TensorSpec> {
  const specs: [string, TensorSpec][] = [];
  for (const { parameter, columns, targets } of goals) {
    for (const { name, elements } of targets) {
      const rows = elements / columns;
      const shape = [rows, ...parameter.shape.slice(1)];
      if (!isMatrix(parameter)) specs.push([name, { dtype: 'F32', shape }]);
      else if (dtype === 'fp16') specs.push([name, { dtype: 'F16', shape }]);
      else specs.push([name, { dtype: 'I8', shape }], [scaleName(name), { dtype: 'F32', shape: [rows] }]);
    }
  }
  if (head) {
    const { numClasses, inFeatures } = head;
    const columns = Math.max(inFeatures, 2 * embedDim); // Hugging Face's head also reads the patches' mean
    specs.push(['classifier.weight', { dtype: 'F16', shape: [numClasses, columns] }]);
    specs.push(['classifier.bias', { dtype: 'F32', shape: [numClasses] }]);
  }
  return new Map(specs.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * Writes the values of a parameter, from element `begin` on, in the element types that the new header
 * states.
 */
async function writeRange(
  header: SafetensorsHeader,
  { parameter, targets }: ConvertedParameter,
  values: Float32Array,
  begin: number,
  write: WriteAt,
  after?: MatrixSample,
): Promise<void> {
  for (const target of targets) {
    const from = Math.max(begin, target.begin);
    const to = Math.min(begin + values.length, target.begin + target.elements);
    if (from >= to) continue;
    const some = values.slice(from - begin, to - begin);
    const info = header.tensors.get(target.name)!;
    if (info.dtype === 'F32') {
      await write(info.begin + 4 * (from - target.begin), new Uint8Array(some.buffer));
      continue;
    }
    const halves = new Uint16Array(some.length);
    f32ToF16(some, halves);
    f16ToF32(new Uint8Array(halves.buffer), some);
    after?.add(parameter.name, elementsOf(parameter), some, from);
    await write(info.begin + 2 * (from - target.begin), new Uint8Array(halves.buffer));
  }
}

/** Rounds a tensor to int8 row by row, as its values arrive. */
class Rows {
  readonly #goal: ConvertedParameter;
  readonly #row: Float32Array;
  #filled = 0;
  /** Index within the parameter of the row that is written next. */
  #next: number;

  constructor(goal: ConvertedParameter, begin: number) {
    this.#goal = goal;
    this.#row = new Float32Array(goal.columns);
    this.#next = begin / goal.columns;
  }

  async add(
    values: Float32Array,
    header: SafetensorsHeader,
    write: WriteAt,
    after: MatrixSample,
  ): Promise<void> {
    const { columns } = this.#goal;
    const integers = new Int8Array(Math.floor((this.#filled + values.length) / columns) * columns);
    const rounded = new Float32Array(integers.length);
    const scales = new Float32Array(integers.length / columns);
    for (let taken = 0, row = 0; taken < values.length;) {
      const some = values.subarray(taken, taken + columns - this.#filled);
      this.#row.set(some, this.#filled);
      taken += some.length;
      this.#filled += some.length;
      if (this.#filled < columns) break;
      const scale = int8Scale(this.#row.reduce((most, value) => Math.max(most, Math.abs(value)), 0));
      scales[row] = scale;
      this.#row.forEach((value, column) => {
        const at = row * columns + column;
        integers[at] = Math.round(value / (scale || 1));
        rounded[at] = integers[at] * scale; // the value that loading will compute, without -0
      });
      this.#filled = 0;
      row++;
    }
    await this.#write(integers, scales, header, write);
    const { parameter } = this.#goal;
    after.add(parameter.name, elementsOf(parameter), rounded, this.#next * columns);
    this.#next += scales.length;
  }

  async #write(
    integers: Int8Array,
    scales: Float32Array,
    header: SafetensorsHeader,
    write: WriteAt,
  ): Promise<void> {
    const { columns, targets } = this.#goal;
    for (const { name, begin, elements } of targets) {
      const first = begin / columns;
      const from = Math.max(this.#next, first);
      const to = Math.min(this.#next + scales.length, first + elements / columns);
      if (from >= to) continue;
      const some = integers.slice((from - this.#next) * columns, (to - this.#next) * columns);
      await write(header.tensors.get(name)!.begin + (from - first) * columns, new Uint8Array(some.buffer));
      const theirs = scales.slice(from - this.#next, to - this.#next);
      await write(
        header.tensors.get(scaleName(name))!.begin + 4 * (from - first),
        new Uint8Array(theirs.buffer),
      );
    }
  }
}

/**
 * Writes the classifier as F16, because classifiers run on the CPU, which does not read int8. A classifier
 * on the class token alone gets zero weights for the mean of the patches, which Hugging Face's classifier
 * also reads.
 */
async function writeHead(
  header: SafetensorsHeader,
  { weight, bias, numClasses, inFeatures }: LinearHead,
  write: WriteAt,
): Promise<void> {
  checkValues('classifier.weight', weight, 0, F16_LIMIT);
  const { begin, shape } = header.tensors.get('classifier.weight')!;
  const columns = shape[1]!;
  const halves = new Uint16Array(numClasses * columns);
  for (let row = 0; row < numClasses; row++)
    f32ToF16(
      weight.subarray(row * inFeatures, (row + 1) * inFeatures),
      halves.subarray(row * columns, row * columns + inFeatures),
    );
  await write(begin, new Uint8Array(halves.buffer));
  await write(header.tensors.get('classifier.bias')!.begin, new Uint8Array(bias.buffer));
}

function checkValues(name: string, values: Float32Array, begin: number, limit: number): void {
  const at = values.findIndex((value) => !(Math.abs(value) < limit));
  if (at < 0) return;
  const found = `found ${values[at]} at element ${begin + at}`;
  if (Number.isFinite(values[at]))
    throw new CheckpointError(
      'CHECKPOINT_RANGE',
      `${name}: expected weights with a magnitude below ${limit}, the limit of fp16, ${found}. Keep this checkpoint in fp32, or convert it to int8.`,
    );
  throw new CheckpointError(
    'CHECKPOINT_NOT_FINITE',
    `${name}: expected finite weights, ${found}. The file is damaged: download it again.`,
  );
}

/**
 * Returns the class names of a checkpoint's classifier; undefined if the names are unknown or there is no
 * classifier.
 */
export async function labelsOf(
  stream: TensorStream,
  config: DINOv2Config,
  prefix: string,
  { labels, globalPool }: Pick<Described, 'labels' | 'globalPool'>,
): Promise<readonly string[] | undefined> {
  const { shape } = headOf(stream, config, prefix, globalPool);
  return shape && (labelsOfConfig(labels, shape.numClasses) ?? (await labelsOfMeta(shape)));
}
