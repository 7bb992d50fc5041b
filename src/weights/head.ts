/**
 * Reads a linear classifier (head) from a safetensors file, which may also hold a model's weights. The
 * classifier stays in JavaScript memory: 3 MB for ViT-S, 12 MB for ViT-g.
 */
import { CheckpointError } from '../errors.js';
import { decodeInt8, floatDecoders } from './elements.js';
import { readQuantized, RowScales, scaleName, type Quantized } from './quantized.js';
import { dtypeBits, type SafetensorsHeader, type TensorInfo } from '../safetensors.js';
import { shorten } from '../safetensors/format.js';
import type { TensorPiece, TensorStream } from '../safetensors/tensorStream.js';

/**
 * The name of the module that holds the head, without wrapper modules:
 *
 * - `classifier`: Hugging Face's `Dinov2ForImageClassification`
 * - `linear_head`: facebookresearch's `_LinearClassifierWrapper`
 * - `head`: the model's own last layer, on the class token alone (timm)
 * - `linear`: facebookresearch's linear evaluation
 * - `''`: a bare `nn.Linear`, as in Meta's published linear heads
 */
export type HeadModule = 'classifier' | 'linear_head' | 'head' | 'linear' | '';

/** A linear classifier: logits = weight · x + bias. */
export interface LinearHead {
  /** (numClasses, inFeatures), row-major. */
  readonly weight: Float32Array<ArrayBuffer>;
  /** (numClasses). */
  readonly bias: Float32Array<ArrayBuffer>;
  readonly numClasses: number;
  readonly inFeatures: number;
  readonly module: HeadModule;
  /** Names of the head's tensors in the file: weight, bias. */
  readonly names: readonly string[];
}

/** A head without the values of its tensors. */
export type HeadShape = Omit<LinearHead, 'weight' | 'bias'>;

/** The input widths that a model's head can have. */
export interface HeadWidths {
  /** Input width of a `head` on the class token alone: embedDim. */
  readonly token: number;
  /**
   * Input widths of heads that also read the mean of the patches: 2 · embedDim, and 5 · embedDim for models
   * of 4 or more blocks.
   */
  readonly pooled: readonly number[];
}

/** Matches the end of a model's prefix that names the backbone within a classifier, with wrapper modules. */
const BACKBONE = /(^|\.)(?:dinov2|dinov2_with_registers|backbone)\.(?:(?:_orig_mod|module)\.)*$/;
/**
 * Matches the tensor names of a head beside its backbone. If PEFT trained the whole layer, the file holds
 * it as `modules_to_save.{adapter}`. The untrained layer, `original_module`, does not match.
 */
const BESIDE = /^(classifier|linear_head)\.(?:modules_to_save\.[^.]+\.)?(weight|bias)$/;
/** Matches the tensor names of the model's own head. */
const WITHIN = /^(head)\.(weight|bias)$/;
/** Matches the tensor names of a head in a file of its own. */
const ALONE =
  /^(?:(?:module|_orig_mod|model|base_model)\.)*(?:(classifier|linear_head|linear)\.(?:modules_to_save\.[^.]+\.)?)?(weight|bias)$/;

/** A tensor stream from which a classifier head is captured. */
export interface Watched {
  readonly stream: TensorStream;
  /** Shape of the head in the stream; undefined if the stream has no head. */
  readonly shape: HeadShape | undefined;
  /** Returns the head, once the stream has been read to its end. */
  head(): LinearHead | undefined;
}

/**
 * Wraps a tensor stream and captures a linear classifier head from it. Pass `stream` to the loader;
 * afterwards `head()` returns the head. It returns undefined if the file has no head, several heads, or a
 * head that does not fit DINOv2 (a different width, several layers, no bias).
 * @param prefix prefix of the model's tensor names, such as `module.dinov2.`. The head is searched beside
 *   the model (`module.classifier.weight`), so two models in one file have separate heads
 * @param quantized the result of `readQuantized` for the stream's header, if the caller has it
 * @throws CheckpointError CHECKPOINT_DTYPE if the head is neither of floats nor int8 with scales
 */
export function watchForHead(
  stream: TensorStream,
  widths: HeadWidths,
  prefix = '',
  { header, scales }: Quantized = readQuantized(stream.header),
): Watched {
  const outer = prefix.replace(BACKBONE, '$1');
  const found = locate(header, (name) => match(BESIDE, outer, name) ?? match(WITHIN, prefix, name));
  if (!found || !isLinear(found) || !fits(found, widths, header, prefix))
    return { stream, shape: undefined, head: () => undefined };
  const collector = new Collector(found, scales);
  async function* pieces(): AsyncGenerator<TensorPiece, void, undefined> {
    for await (const piece of stream.pieces) {
      collector.add(piece);
      yield piece;
    }
  }
  const { weight: _, bias: _2, ...shape } = collector.head;
  return {
    stream: { ...stream, pieces: pieces() },
    shape,
    head: () => collector.head,
  };
}

/**
 * Reads a head from a file, which may hold other tensors.
 * @throws CheckpointError CHECKPOINT_TENSORS if the file has no weight (classes, features) with its bias,
 *   CHECKPOINT_DTYPE, CHECKPOINT_NOT_FINITE; the errors of the stream
 */
export async function readHead(stream: TensorStream): Promise<LinearHead> {
  try {
    const { header, scales } = readQuantized(stream.header);
    const found = locate(header, (name) => match(ALONE, '', name));
    if (!found || !isLinear(found)) {
      const names =
        [...header.tensors]
          .slice(0, 4)
          .map(([name, { shape }]) => `${shorten(name)} [${shape.join(', ')}]`)
          .join(', ') || 'no tensor';
      throw new CheckpointError(
        'CHECKPOINT_TENSORS',
        `classifier: expected weight [classes, features] and bias [classes], named linear.weight, linear_head.weight, classifier.weight or weight, found ${names}. Save the head as a safetensors file that holds weight and bias.`,
      );
    }
    const collector = new Collector(found, scales);
    for await (const piece of stream.pieces) collector.add(piece);
    return collector.head;
  } catch (error) {
    await stream.cancel(error).catch(() => undefined); // a second error must not hide the first
    throw error;
  }
}

/** The role of a tensor in a head. */
interface Role {
  readonly module: HeadModule;
  readonly part: 'weight' | 'bias';
}

interface Located {
  readonly module: HeadModule;
  readonly weightName: string;
  readonly biasName: string;
  readonly weight: TensorInfo;
  readonly bias: TensorInfo;
}

function match(pattern: RegExp, before: string, name: string): Role | undefined {
  const found = name.startsWith(before) ? pattern.exec(name.slice(before.length)) : null;
  return found ? { module: (found[1] ?? '') as HeadModule, part: found[2] as Role['part'] } : undefined;
}

/** Finds the only head of a file; undefined if the file has no head or more than one. */
function locate(
  { tensors }: SafetensorsHeader,
  roleOf: (name: string) => Role | undefined,
): Located | undefined {
  const weights = [...tensors.keys()].filter((name) => roleOf(name)?.part === 'weight');
  const [weightName] = weights;
  if (weightName === undefined || weights.length > 1) return undefined;
  const biasName = weightName.replace(/weight$/, 'bias');
  const [weight, bias] = [tensors.get(weightName)!, tensors.get(biasName)];
  return bias && { module: roleOf(weightName)!.module, weightName, biasName, weight, bias };
}

function isLinear({ weight, bias }: Located): boolean {
  return (
    weight.shape.length === 2 &&
    bias.shape.length === 1 &&
    weight.shape[0] === bias.shape[0] &&
    weight.shape.every((extent) => extent > 0)
  );
}

/**
 * Returns whether a head that a file holds beside a model has the input that DINOv2's classifiers have. A
 * model's own `head` reads the class token after the final norm only if the model has the tensor names of
 * timm and facebookresearch, and none of the layers that timm adds before the head for other kinds of
 * pooling.
 */
function fits(
  { module, weight }: Located,
  { token, pooled }: HeadWidths,
  { tensors }: SafetensorsHeader,
  prefix: string,
): boolean {
  const width = weight.shape[1]!;
  if (module !== 'head') return pooled.includes(width);
  const has = (part: string): boolean =>
    [...tensors.keys()].some((name) => name.startsWith(`${prefix}${part}.`));
  return width === token && has('blocks') && !has('fc_norm') && !has('attn_pool');
}

class Collector {
  readonly head: LinearHead;
  readonly #targets: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
  readonly #scales: RowScales;

  /**
   * Prepares to capture the tensors of one head.
   * @param scales scales of all int8 matrices of the file, as `readQuantized` returns them
   */
  constructor(
    { module, weightName, biasName, weight: { shape, dtype }, bias }: Located,
    scales: ReadonlyMap<string, number>,
  ) {
    const wrong = [dtype, bias.dtype].find((each) => !floatDecoders.has(each));
    if (wrong !== undefined)
      throw new CheckpointError(
        'CHECKPOINT_DTYPE',
        `${weightName}: expected F64, F32, F16, BF16 or I8 with scales, found ${wrong}. Save the classifier in one of these element types.`,
      );
    const [numClasses, inFeatures] = shape as [number, number];
    this.head = {
      weight: new Float32Array(numClasses * inFeatures),
      bias: new Float32Array(numClasses),
      numClasses,
      inFeatures,
      module,
      names: [weightName, biasName],
    };
    this.#targets = new Map([
      [weightName, this.head.weight],
      [biasName, this.head.bias],
    ]);
    const own = scaleName(weightName);
    this.#scales = new RowScales(new Map([...scales].filter(([name]) => name === own)));
  }

  add({ name, info, offset, bytes }: TensorPiece): void {
    this.#scales.add(name, offset, bytes);
    const target = this.#targets.get(name);
    if (!target) return;
    const begin = (offset * 8) / dtypeBits(info.dtype)!;
    const scales = this.#scales.of(name);
    const end =
      begin +
      (scales
        ? decodeInt8(bytes, scales, this.head.inFeatures, begin, target, begin)
        : floatDecoders.get(info.dtype)!(bytes, target, begin));
    const bad = target.subarray(begin, end).findIndex((value) => !Number.isFinite(value));
    if (bad >= 0)
      throw new CheckpointError(
        'CHECKPOINT_NOT_FINITE',
        `${name}: expected finite weights, found ${target[begin + bad]} at element ${begin + bad}. The file is damaged: get it again.`,
      );
  }
}
