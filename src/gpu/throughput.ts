/** The estimate of what an adapter computes in a second, by which forwards are cut into submits. */

/** Measurements that count. A single slow one, behind other work of the page, changes nothing. */
const COUNTED = 3;

/** Clocks of browsers are coarse: what seems to take less counts as this. */
const SHORTEST_MS = 5;

export class Throughput {
  /** The largest counts, so the estimate rises with one measurement and falls with `COUNTED` of them. */
  #estimates: readonly number[];

  readonly #least: number;

  /**
   * @param guess floating-point operations a second, until something is measured
   * @param least that the estimate never falls below. Default 0
   */
  constructor(guess: number, least = 0) {
    this.#estimates = [guess];
    this.#least = least;
  }

  /** Floating-point operations a second. */
  get flopsPerSecond(): number {
    return Math.max(...this.#estimates);
  }

  /**
   * Some work took between `leastMs` and `mostMs`: a browser may tell late that it has ended. An estimate
   * between the two stays as it is.
   */
  saw(flops: number, leastMs: number, mostMs: number): void {
    const slowest = (1000 * flops) / Math.max(mostMs, SHORTEST_MS);
    const fastest = leastMs > 0 ? (1000 * flops) / leastMs : Infinity;
    const seen = Math.max(this.#least, slowest, Math.min(fastest, this.flopsPerSecond));
    this.#estimates = [...this.#estimates, seen].slice(-COUNTED);
  }
}
