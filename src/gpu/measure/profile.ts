/** The result of a profile. It imports nothing that computes: the page's side of a worker has it too. */
import type { Ceilings } from './ceilings.js';
import type { AdapterDescription } from '../adapter.js';
import type { Timer } from './stopwatch.js';

/** Work and time of a dispatch, or of several together. */
export interface Throughput {
  /** Milliseconds on the GPU. */
  readonly ms: number;
  /** Multiplications and additions of matrix products; what is not a product counts nothing. */
  readonly flops: number;
  /** What must be moved: every input read once, the output written once. */
  readonly bytes: number;
  /** flops / ms, in 10⁹ a second. */
  readonly gflopsPerSecond: number;
  /** bytes / ms, in 10⁹ a second. */
  readonly gigabytesPerSecond: number;
  /**
   * The time that the measured ceilings allow, of the time taken: 1 is as fast as this adapter can. Caches
   * may make it more where little is computed.
   */
  readonly share: number;
}

/** One dispatch of the forward. */
export interface DispatchProfile extends Throughput {
  /** What it computes: `blocks.0.attn.qkv`. */
  readonly label: string;
  /** Shader and entry point. */
  readonly kernel: string;
  readonly workgroups: readonly [number, number, number];
}

/** All dispatches of one kernel at one shape. */
export interface KernelProfile extends Throughput {
  readonly kernel: string;
  /** What they compute, block by block: `blocks.*.attn.qkv`. */
  readonly label: string;
  readonly dispatches: number;
}

/** A profile's data, without its methods: what is left of one that crossed from a worker. */
export type ProfileData = Omit<Profile, 'toString'>;

/** What `DINOv2.profile` gives: plain data, and a table of it. */
export class Profile {
  declare readonly adapter: AdapterDescription;
  /** Images, and rows and columns of patches. */
  declare readonly size: { readonly batch: number; readonly rows: number; readonly cols: number };
  /**
   * `submits`: the device was made without `timestamp-query`, so one dispatch of each kind was timed by the
   * clock of the page.
   */
  declare readonly timer: Timer;
  declare readonly ceilings: Ceilings;
  declare readonly dispatches: readonly DispatchProfile[];
  /** The same by kernel, the slowest first. */
  declare readonly kernels: readonly KernelProfile[];
  /** Sum of the dispatches. */
  declare readonly total: Throughput;
  /**
   * The forward in one piece, milliseconds on the GPU. Less than the sum where dispatches overlap or find
   * their inputs in a cache.
   */
  declare readonly forwardMs: number;

  readonly #table: string;

  /** @param table what `toString` gives: made with the profile, so that a page that shows none has no code for it */
  constructor(data: ProfileData, table: string) {
    Object.assign(this, data);
    this.#table = table;
  }

  /** A table in Markdown, one line a kernel. */
  toString(): string {
    return this.#table;
  }
}
