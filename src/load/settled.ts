/**
 * The result of `settle` in settle.ts: a checkpoint's configuration, and which parameter each tensor fills.
 */
import type { DINOv2Config } from '../model/config.js';
import type { LoadReport } from '../options.js';
import type { TensorStream } from '../safetensors/tensorStream.js';
import type { Watched } from '../weights/head.js';
import type { WeightLayout } from '../weights/weights.js';

/** The part of a `LoadReport` that follows from header and config.json. */
export type TensorReport = Pick<LoadReport, 'dialect' | 'prefix' | 'setAside' | 'assumed'>;

/**
 * What is known of a checkpoint before its weights are read: its configuration, and which parameter each
 * tensor fills.
 */
export interface Settled {
  readonly config: DINOv2Config;
  readonly tensors: TensorReport;
  readonly layout: WeightLayout;
  /**
   * Wraps the checkpoint's stream to read a classifier's head from it. Undefined if the checkpoint has no
   * tensors besides those of the model.
   */
  readonly watch?: ((stream: TensorStream) => Watched) | undefined;
}
