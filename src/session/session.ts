/**
 * The parts of a model that are on one device. After a loss of the device, the model replaces its session by
 * a new one.
 */
import type { Gpu } from '../gpu/device.js';
import type { Target } from '../gpu/lowering.js';
import type { Preprocessor } from '../image/preprocess.js';
import type { Preprocessing } from '../image/preprocessing.js';
import type { DINOv2Config } from '../model/config.js';
import type { LoadOptions } from '../options.js';
import type { Precision } from '../weights/precision.js';
import type { Weights } from '../weights/weightMemory.js';
import { Forwards } from './forwards.js';

/** What a session is made of. The session takes ownership of everything, and of one use of the device. */
export interface SessionParts {
  readonly gpu: Gpu;
  readonly config: DINOv2Config;
  readonly target: Target;
  readonly weights: Weights;
  readonly preprocessor: Preprocessor;
  readonly preprocessing: Preprocessing;
  readonly precision: Precision;
  /**
   * Loads the same checkpoint again. `changes` replace options of the first load. Undefined if the source cannot be
   * read again.
   */
  readonly reload: ((changes: ReloadOptions) => Promise<SessionParts>) | undefined;
}

/** The options of a load that a recovery replaces. */
export type ReloadOptions = Pick<LoadOptions, 'device' | 'dtype' | 'signal'>;

/** The parts of a model that are on one device. */
export class Session {
  readonly parts: SessionParts;
  readonly gpu: Gpu;
  readonly weights: Weights;
  readonly preprocessor: Preprocessor;
  readonly forwards: Forwards;

  constructor(parts: SessionParts) {
    const { gpu, config, target, weights, preprocessor } = parts;
    this.parts = parts;
    this.gpu = gpu;
    this.weights = weights;
    this.preprocessor = preprocessor;
    this.forwards = new Forwards(gpu, config, target, weights);
  }

  /**
   * Makes later forward passes throw. Resolves when running forward passes have ended, all buffers are freed
   * and the device is released.
   */
  async dispose(): Promise<void> {
    await this.forwards.dispose();
    this.preprocessor.dispose();
    for (const buffer of this.weights.buffers.values()) this.gpu.memory.destroy(buffer);
    this.gpu.release();
  }
}
