/** Estimates how fast an adapter computes. The estimate decides how a forward is cut into submits. */

/**
 * Number of recent measurements that are used. One slow measurement, behind other work of the page, has no
 * effect.
 */
const COUNTED = 3;

/** Browsers coarsen their clocks, so shorter times are counted as this long. */
const SHORTEST_MS = 5;

/** An estimate of an adapter's floating-point operations per second, updated from measured forwards. */
export class ThroughputEstimate {
  /**
   * Recent measurements, of which the largest is used: the estimate rises after one measurement and falls
   * after COUNTED of them.
   */
  #estimates: readonly number[];

  readonly #least: number;

  /**
   * @param guess floating-point operations per second, used until the first measurement
   * @param least lower bound of the estimate. Default: 0
   */
  constructor(guess: number, least = 0) {
    this.#estimates = [guess];
    this.#least = least;
  }

  /** The current estimate, in floating-point operations per second. */
  get flopsPerSecond(): number {
    return Math.max(...this.#estimates);
  }

  /**
   * Records that work of `flops` operations took between `leastMs` and `mostMs`. The time is not known
   * exactly, because a browser may report the end of GPU work late. An estimate inside these bounds does not
   * change.
   */
  record(flops: number, leastMs: number, mostMs: number): void {
    const slowest = (1000 * flops) / Math.max(mostMs, SHORTEST_MS);
    const fastest = leastMs > 0 ? (1000 * flops) / leastMs : Infinity;
    const seen = Math.max(this.#least, slowest, Math.min(fastest, this.flopsPerSecond));
    this.#estimates = [...this.#estimates, seen].slice(-COUNTED);
  }
}
