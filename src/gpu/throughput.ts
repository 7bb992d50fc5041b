/** Estimates how fast an adapter computes. The estimate decides how a forward pass is cut into submits. */

/**
 * Number of recent measurements from which the estimate is made. A single slow measurement does not lower
 * the estimate. A measurement is slow, for example, if the GPU also does other work of the page.
 */
const COUNTED = 3;

/**
 * Shortest time that is believed, in milliseconds. A shorter measured time counts as this time, because
 * browsers coarsen their clocks.
 */
const SHORTEST_MS = 5;

/** An estimate of an adapter's floating-point operations per second, updated from measured forward passes. */
export class ThroughputEstimate {
  /**
   * The throughputs from the last `COUNTED` measurements. The estimate is the largest of them, so it rises
   * after one faster measurement and falls only after `COUNTED` slower measurements.
   */
  #estimates: readonly number[];

  readonly #least: number;

  /**
   * @param guess initial estimate in floating-point operations per second, used until the first measurement
   * @param least lower bound of the estimate, in floating-point operations per second. Default: 0
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
   * Records that work of `flops` floating-point operations took between `leastMs` and `mostMs`. The exact
   * time is unknown, because a browser may report the end of GPU work late. If the current estimate lies
   * between the two throughputs that these times give, the estimate does not change.
   */
  record(flops: number, leastMs: number, mostMs: number): void {
    const slowest = (1000 * flops) / Math.max(mostMs, SHORTEST_MS);
    const fastest = leastMs > 0 ? (1000 * flops) / leastMs : Infinity;
    const seen = Math.max(this.#least, slowest, Math.min(fastest, this.flopsPerSecond));
    this.#estimates = [...this.#estimates, seen].slice(-COUNTED);
  }
}
