/**
 * Provides `Profile`, the result of `DINOv2.profile`. This file imports types only, because the page uses it
 * too if the model runs in a worker.
 */
import type { Ceilings } from './ceilings.js';
import type { AdapterDescription } from '../adapter.js';
import type { Timer } from './stopwatch.js';

/** Work and time of one dispatch, or of several dispatches together. */
export interface Throughput {
  /** Time on the GPU in milliseconds. */
  readonly ms: number;
  /** Floating-point operations of matrix products. Other operations count 0. */
  readonly flops: number;
  /** Bytes to be moved if every input is read once and the output is written once. */
  readonly bytes: number;
  /** `flops` per second, in units of 10⁹. */
  readonly gflopsPerSecond: number;
  /** `bytes` per second, in units of 10⁹. */
  readonly gigabytesPerSecond: number;
  /**
   * The shortest time that the measured highest rates of the adapter (`ceilings`) allow for this work,
   * divided by the time taken. 1 means as fast as this adapter can be. The value can exceed 1 for small
   * work, whose data stays in caches.
   */
  readonly share: number;
}

/** One dispatch of the forward pass. */
export interface DispatchProfile extends Throughput {
  /** Layer that the dispatch computes, such as `blocks.0.attn.qkv`. */
  readonly label: string;
  /** Shader and entry point, such as `linear.linear_gelu`. */
  readonly kernel: string;
  /** Numbers of workgroups along x, y and z. */
  readonly workgroups: readonly [number, number, number];
}

/** All dispatches of one kernel at one shape. */
export interface KernelProfile extends Throughput {
  /** Shader and entry point, such as `linear.linear_gelu`. */
  readonly kernel: string;
  /** Layer that the dispatches compute in each block, such as `blocks.*.attn.qkv`. */
  readonly label: string;
  /** Number of dispatches. */
  readonly dispatches: number;
}

/** The data of a `Profile` without its methods. A worker sends it to the page. */
export type ProfileData = Omit<Profile, 'toString'>;

/** Times of a forward pass, as `DINOv2.profile` measures them: plain data, and a table as text. */
export class Profile {
  /** The adapter that was measured. */
  declare readonly adapter: AdapterDescription;
  /** Number of images, and rows and columns of patches of each image. */
  declare readonly size: { readonly batch: number; readonly rows: number; readonly cols: number };
  /**
   * The clock that was used. `submits`: the device has no `timestamp-query`, so one dispatch of each kind was
   * timed with the page's clock.
   */
  declare readonly timer: Timer;
  /** The highest rates of the adapter, measured before the forward pass. */
  declare readonly ceilings: Ceilings;
  /** All dispatches of the forward pass in the order in which they run. */
  declare readonly dispatches: readonly DispatchProfile[];
  /** The dispatches grouped by kernel and layer, the slowest group first. */
  declare readonly kernels: readonly KernelProfile[];
  /** Sums of the work and the times of all dispatches. */
  declare readonly total: Throughput;
  /**
   * Time of the whole forward pass on the GPU, in milliseconds. This time is less than the sum of the
   * dispatches if dispatches overlap or find their inputs in a cache.
   */
  declare readonly forwardMs: number;

  readonly #table: string;

  /**
   * @param table the text that `toString` returns. The caller formats the text, so that a page whose model
   *   runs in a worker does not load the formatting code
   * @internal
   */
  constructor(data: ProfileData, table: string) {
    Object.assign(this, data);
    this.#table = table;
  }

  /** Returns the profile as a Markdown table with one row for each kernel. */
  toString(): string {
    return this.#table;
  }
}
