/**
 * Synthetic weights, computed by a formula, for measurements, demos and tests without a file. Every value is
 * a pure function of the tensor's Hugging Face name, the element's index and a seed. Python computes the
 * same bits (scripts/make-fixtures/formula.py):
 *
 *     h = fnv1a(name) ^ seed        x = fmix32(h + (i + 1) · 0x9E3779B9)        u = (x >>> 8) · 2^-24
 *     value = float32(centre + (2u - 1) · halfWidth)
 */

import { fmix32, fnv1a } from '../numerics/hash.js';
import { Slices } from '../platform/pause.js';
import { encodeSafetensorsHeader, inFileOrder } from '../safetensors.js';
import type { Parameter } from './huggingFace.js';
import type { ReadProgress, TensorPiece, TensorStream } from '../safetensors/tensorStream.js';

/** Options of synthetic weights. */
export interface SyntheticOptions {
  /** Seed of the formula. A different seed changes all values. Default: 0. */
  seed?: number | undefined;
  /** Size in bytes of the largest piece, a multiple of 4. Default: 4 MiB. */
  pieceBytes?: number | undefined;
  signal?: AbortSignal | undefined;
  /**
   * Called with every piece, as if the piece had been downloaded. If the function throws, the stream ends
   * with that error.
   */
  onProgress?: ((progress: ReadProgress) => void) | undefined;
}

const PIECE_BYTES = 4 * 1024 * 1024;
/** Longest computing time between two pauses for the page, in ms. */
const BUSY_MS = 12;

/** Returns centre and half width of a tensor's uniform distribution. The first matching rule applies. */
function spread(name: string, shape: readonly number[]): { centre: number; halfWidth: number } {
  if (name.endsWith('lambda1')) return { centre: 0.3, halfWidth: 0.25 };
  if (name.endsWith('bias')) return { centre: 0, halfWidth: 0.2 };
  if (name.includes('norm')) return { centre: 1, halfWidth: 0.3 };
  if (/(cls_token|mask_token|register_tokens|position_embeddings)$/.test(name))
    return { centre: 0, halfWidth: 0.5 };
  if (name.startsWith('pixel_values')) return { centre: 0, halfWidth: 2 };
  return { centre: 0, halfWidth: Math.sqrt(3 / count(shape.slice(1))) };
}

/**
 * Computes the values [begin, begin + out.length) of a synthetic tensor, by row-major index.
 *
 * @param name the tensor's name in Hugging Face's files; test inputs are named `pixel_values.HxW`
 * @param shape shape of the whole tensor; its fan-in determines the range of values
 */
export function fillSynthetic(
  name: string,
  shape: readonly number[],
  begin: number,
  out: Float32Array,
  seed = 0,
): void {
  const { centre, halfWidth } = spread(name, shape);
  let state = ((fnv1a(name) ^ seed) + Math.imul(begin, 0x9e3779b9)) | 0;
  for (let i = 0; i < out.length; i++) {
    state = (state + 0x9e3779b9) | 0;
    out[i] = centre + (2 * ((fmix32(state) >>> 8) * 2 ** -24) - 1) * halfWidth;
  }
}

/**
 * Computes a whole synthetic tensor, row-major.
 *
 * @param out array that receives the values; its length must match the shape. Default: a new array
 * @throws {RangeError} if the length of `out` does not match the shape
 */
export function syntheticTensor(
  name: string,
  shape: readonly number[],
  seed = 0,
  out?: Float32Array,
): Float32Array {
  const values = out ?? new Float32Array(count(shape));
  if (values.length !== count(shape)) {
    throw new RangeError(
      `syntheticTensor: expected an array of ${count(shape)} values, found ${values.length}.`,
    );
  }
  fillSynthetic(name, shape, 0, values, seed);
  return values;
}

/**
 * Creates the stream of a synthetic checkpoint, as if read from a file: F32 tensors in the given order.
 * Pieces are computed on request in one buffer, so a piece is valid until the next piece is requested. The
 * stream pauses every few milliseconds, so that a page stays responsive.
 *
 * After an abort or a call of `cancel`, iterating throws the reason of the abort or of `cancel`.
 *
 * @param tensors tensor names in Hugging Face's files and shapes: `huggingFaceTensors(parameters(config))`
 */
export function syntheticStream(tensors: readonly Parameter[], options: SyntheticOptions = {}): TensorStream {
  const { seed = 0, pieceBytes = PIECE_BYTES, signal, onProgress } = options;
  if (!Number.isInteger(pieceBytes / 4) || pieceBytes <= 0) {
    throw new RangeError(
      `syntheticStream: expected pieceBytes to be a positive multiple of 4, found ${pieceBytes}.`,
    );
  }
  const specs = tensors.map(({ name, shape }) => [name, { dtype: 'F32', shape }] as const);
  const { header } = encodeSafetensorsHeader(specs, [['format', 'pt']]);
  const cancelled = new AbortController();

  async function* pieces(): AsyncGenerator<TensorPiece, void, undefined> {
    const largest = [...header.tensors.values()].reduce(
      (most, { begin, end }) => Math.max(most, end - begin),
      0,
    );
    const buffer = new ArrayBuffer(Math.min(pieceBytes, largest));
    const slices = new Slices(BUSY_MS);
    for (const [name, info] of inFileOrder(header.tensors)) {
      const bytes = info.end - info.begin;
      for (let offset = 0; offset < bytes; offset += pieceBytes) {
        signal?.throwIfAborted();
        cancelled.signal.throwIfAborted();
        const piece = new Uint8Array(buffer, 0, Math.min(pieceBytes, bytes - offset));
        fillSynthetic(name, info.shape, offset / 4, new Float32Array(buffer, 0, piece.length / 4), seed);
        onProgress?.({ loadedBytes: info.begin + offset + piece.length, totalBytes: header.fileBytes });
        yield { name, info, offset, bytes: piece };
        await slices.rest();
      }
    }
  }

  return {
    header,
    pieces: pieces(),
    cancel: async (reason?: unknown) => cancelled.abort(reason),
  };
}

function count(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}
