/** Predicts the GPU memory of a call. */
import type { SlotPool } from '../gpu/program.js';
import { F32_BYTES } from '../graph/constants.js';
import { layerSet } from '../model/layers.js';
import { gridOf, type PixelSize } from '../model/normalizedPixels.js';
import { checkOptions } from '../optionNames.js';
import { countTokens, type ForwardVariant, type Grid } from '../model/vit.js';
import { sharedBuffers, sum, type PredictedModel } from './advice.js';
import type { Sessions } from './sessions.js';

/** An input whose memory `DINOv2.memory` predicts. */
export interface MemoryInput extends PixelSize {
  /** As the option of `features()`. Default: none. */
  readonly layers?: readonly number[] | undefined;
  /** As the option of `features()`. Default: none. */
  readonly attentions?: readonly number[] | undefined;
}

/** A prediction of GPU memory. All numbers are bytes. */
export interface MemoryEstimate {
  /** Largest value that `gpuBytes` would reach in `features()` and in reading the tokens of its result. */
  readonly peakBytes: number;
  /** The same for `forward()`, which does not hold pixels twice. */
  readonly forwardPeakBytes: number;
  /** Bytes that the library holds now: `gpuBytes`. Both peaks include them. */
  readonly heldBytes: number;
  /** Bytes of the model's weights. */
  readonly weightBytes: number;
  /**
   * Bytes of the activations and of the input, after the call. All calls of a model share these buffers, so they
   * stay allocated.
   */
  readonly activationBytes: number;
  /** Bytes by which the activations would grow. 0 after a call with an input of this size. */
  readonly growthBytes: number;
  /** Bytes of the prepared pixels, which `features()` frees before it returns. */
  readonly pixelBytes: number;
  /** Bytes of the features. `dispose()` of the features frees them. */
  readonly outputBytes: number;
  /** Bytes of the buffer through which all tokens are read, freed when they have been read. */
  readonly readBytes: number;
}

/** Implements `DINOv2.memory`. Waits until earlier forward passes have ended. */
export function memoryOf(sessions: Sessions, input: MemoryInput): Promise<MemoryEstimate> {
  checkOptions('memory', input ?? null);
  const { layers = [], attentions = [] } = input;
  return sessions.run(({ gpu, weights, forwards, parts: { config } }) => {
    const grid = gridOf('memory', input, config.patchSize);
    const outputs = {
      layers: layerSet('layers', layers, config.depth + 1),
      attentions: layerSet('attentions', attentions, config.depth),
    };
    return forwards.withPrograms(async (programs) =>
      predictMemory({ gpu, config, weights, programs }, grid, outputs),
    );
  });
}

function predictMemory(model: PredictedModel, grid: Grid, outputs: ForwardVariant): MemoryEstimate {
  const { gpu, config, weights, programs } = model;
  const { batch, rows, cols } = grid;
  const { embedDim, patchSize } = config;
  const { shared, outputBytes } = sharedBuffers(model, grid, outputs);
  const { pool } = programs;
  const grown = growing(pool, shared);
  const growthBytes = sum(grown.map(([key, bytes]) => bytes - (pool.get(key)?.size ?? 0)));
  const heldBytes = gpu.memory.bytes;
  const pixelBytes = batch * 3 * rows * cols * patchSize ** 2 * F32_BYTES;
  const readBytes = batch * countTokens(config, grid) * embedDim * F32_BYTES;
  const positions = programs.has(grid, outputs) ? 0 : (1 + rows * cols) * embedDim * F32_BYTES;
  // A larger buffer is made before the smaller one is freed.
  const whileGrowing = sum(grown.map(([, bytes]) => bytes));
  const computing = growthBytes + outputBytes;
  const base = heldBytes + positions;
  return {
    peakBytes: base + Math.max(pixelBytes + Math.max(whileGrowing, computing), computing + readBytes),
    forwardPeakBytes: base + Math.max(whileGrowing, computing + readBytes),
    heldBytes,
    weightBytes: sum([...weights.buffers.values()].map(({ size }) => size)),
    activationBytes: pool.bytes + growthBytes,
    growthBytes,
    pixelBytes,
    outputBytes,
    readBytes,
  };
}

/** The buffers that are larger than those in the pool. */
const growing = (
  pool: SlotPool,
  shared: ReadonlyMap<number | string, number>,
): readonly (readonly [number | string, number])[] =>
  [...shared].filter(([key, bytes]) => (pool.get(key)?.size ?? 0) < bytes);
