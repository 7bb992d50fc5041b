/**
 * A linear classifier in a safetensors file: beside a model's weights, or alone. Small enough for
 * JavaScript's memory: 3 MB for ViT-S, 12 for ViT-g.
 */
import { CheckpointError } from '../errors.js';
import { bf16ToF32, f16ToF32, f32ToF32 } from './float.js';
import { dtypeBits, type SafetensorsHeader, type TensorInfo } from './safetensors.js';
import type { TensorPiece, TensorStream } from './tensorStream.js';

/** logits = weight · x + bias. */
export interface LinearHead {
  /** (numClasses, inFeatures), row-major. */
  readonly weight: Float32Array<ArrayBuffer>;
  /** (numClasses). */
  readonly bias: Float32Array<ArrayBuffer>;
  readonly numClasses: number;
  readonly inFeatures: number;
}

/**
 * Beside a model: Hugging Face's `Dinov2ForImageClassification`, facebookresearch's
 * `_LinearClassifierWrapper`.
 */
const BESIDE = /^(classifier|linear_head)\.(weight|bias)$/;
/**
 * Alone in its file: these, `linear` as facebookresearch's evaluation saves it, and the bare layer of their
 * published heads.
 */
const ALONE = /^(?:(classifier|linear_head|linear)\.)?(weight|bias)$/;

/** A stream that is listened to. */
export interface Watched {
  readonly stream: TensorStream;
  /** Of the head that it brings, where it brings one. */
  readonly shape: Pick<LinearHead, 'numClasses' | 'inFeatures'> | undefined;
  /** What went by, once the stream is at its end. */
  head(): LinearHead | undefined;
}

/**
 * A model's stream with an ear for a head in it: hand on `stream` to whoever loads the model; when that is
 * done, `head()` is what went by. Where there is no head, or none of a form that DINOv2 has, it is undefined
 * and nothing is kept.
 * @param inFeatures the widths that a head may have
 * @param onHead called with the head when all of it is there, before its last piece is handed on
 */
export function watchForHead(
  stream: TensorStream,
  inFeatures: readonly number[],
  onHead?: (head: LinearHead) => void,
  _prefix?: string,
): Watched {
  const found = locate(stream.header, BESIDE);
  const collector =
    found && isLinear(found) && inFeatures.includes(found.weight.shape[1]!)
      ? new Collector(found)
      : undefined;
  if (!collector) return { stream, shape: undefined, head: () => undefined };
  async function* pieces(): AsyncGenerator<TensorPiece, void, undefined> {
    for await (const piece of stream.pieces) {
      if (collector!.add(piece)) onHead?.(collector!.head);
      yield piece;
    }
  }
  const { numClasses, inFeatures: width } = collector.head;
  return {
    stream: { ...stream, pieces: pieces() },
    shape: { numClasses, inFeatures: width },
    head: () => collector.head,
  };
}

/**
 * Reads a file that holds a head and perhaps other things.
 * @throws CheckpointError CHECKPOINT_TENSORS if there is no weight (classes, features) with its bias,
 *   CHECKPOINT_DTYPE, CHECKPOINT_NOT_FINITE; what the stream throws
 */
export async function readHead(stream: TensorStream): Promise<LinearHead> {
  try {
    const found = locate(stream.header, ALONE);
    if (!found || !isLinear(found)) {
      const names =
        [...stream.header.tensors]
          .slice(0, 4)
          .map(([name, { shape }]) => `${name} [${shape.join(', ')}]`)
          .join(', ') || 'no tensor';
      throw new CheckpointError(
        'CHECKPOINT_TENSORS',
        `classifier: expected weight [classes, features] and bias [classes], named linear.weight, linear_head.weight, classifier.weight or weight, found ${names}. Save the head as a safetensors file of these two.`,
      );
    }
    const collector = new Collector(found);
    for await (const piece of stream.pieces) collector.add(piece);
    return collector.head;
  } catch (error) {
    await stream.cancel(error).catch(() => undefined); // the first error is the one to tell
    throw error;
  }
}

interface Located {
  readonly weightName: string;
  readonly biasName: string;
  readonly weight: TensorInfo;
  readonly bias: TensorInfo;
}

/** The one head of a file; undefined where there is none, or more than one. */
function locate({ tensors }: SafetensorsHeader, pattern: RegExp): Located | undefined {
  const weights = [...tensors.keys()].filter((name) => pattern.exec(name)?.[2] === 'weight');
  const [weightName] = weights;
  if (weightName === undefined || weights.length > 1) return undefined;
  const biasName = weightName.replace(/weight$/, 'bias');
  const [weight, bias] = [tensors.get(weightName)!, tensors.get(biasName)];
  return bias && { weightName, biasName, weight, bias };
}

function isLinear({ weight, bias }: Located): boolean {
  return (
    weight.shape.length === 2 &&
    bias.shape.length === 1 &&
    weight.shape[0] === bias.shape[0] &&
    weight.shape.every((extent) => extent > 0)
  );
}

class Collector {
  readonly head: LinearHead;
  readonly #targets: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
  #missing: number;

  constructor({ weightName, biasName, weight: { shape, dtype }, bias }: Located) {
    const wrong = [dtype, bias.dtype].find((each) => each !== 'F32' && each !== 'F16' && each !== 'BF16');
    if (wrong !== undefined)
      throw new CheckpointError(
        'CHECKPOINT_DTYPE',
        `${weightName}: expected F32, F16 or BF16, found ${wrong}. Save the classifier in one of these.`,
      );
    const [numClasses, inFeatures] = shape as [number, number];
    this.head = {
      weight: new Float32Array(numClasses * inFeatures),
      bias: new Float32Array(numClasses),
      numClasses,
      inFeatures,
    };
    this.#missing = this.head.weight.length + numClasses;
    this.#targets = new Map([
      [weightName, this.head.weight],
      [biasName, this.head.bias],
    ]);
  }

  /** True for the piece that makes the head whole. */
  add({ name, info, offset, bytes }: TensorPiece): boolean {
    const target = this.#targets.get(name);
    if (!target) return false;
    const begin = (offset * 8) / dtypeBits(info.dtype)!;
    const convert = info.dtype === 'F32' ? f32ToF32 : info.dtype === 'F16' ? f16ToF32 : bf16ToF32;
    const end = begin + convert(bytes, target, begin);
    const bad = target.subarray(begin, end).findIndex((value) => !Number.isFinite(value));
    if (bad >= 0)
      throw new CheckpointError(
        'CHECKPOINT_NOT_FINITE',
        `${name}: expected finite weights, found ${target[begin + bad]} at element ${begin + bad}. The file is damaged; get it again.`,
      );
    this.#missing -= end - begin;
    return this.#missing === 0;
  }
}
