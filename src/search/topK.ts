/**
 * `TopK`: selects the k rows with the highest scores from many rows. Higher scores come first; rows with
 * equal scores are sorted by id (by UTF-16 code units, as JavaScript compares strings).
 */

/** A row and its score. */
export interface Scored {
  readonly row: number;
  readonly score: number;
}

export class TopK {
  readonly #k: number;
  readonly #ids: readonly string[];
  /** A binary heap of at most k row numbers. Its root is the worst of these rows. */
  readonly #rows: number[] = [];
  readonly #scores: number[] = [];

  /**
   * @param k maximum number of rows to select
   * @param ids id of each row, by which rows with equal scores are sorted
   */
  constructor(k: number, ids: readonly string[]) {
    this.#k = k;
    this.#ids = ids;
  }

  /** Adds a row to the selection if the row is among the best k so far. */
  offer(row: number, score: number): void {
    const [rows, scores] = [this.#rows, this.#scores];
    let at = rows.length;
    if (at < this.#k) {
      rows.push(row);
      scores.push(score);
      while (at > 0) {
        const parent = (at - 1) >>> 1;
        if (!this.#isWorse(row, score, rows[parent]!, scores[parent]!)) break;
        rows[at] = rows[parent]!;
        scores[at] = scores[parent]!;
        at = parent;
      }
    } else {
      if (score < scores[0]! || !this.#isWorse(rows[0]!, scores[0]!, row, score)) return;
      at = 0;
      for (;;) {
        let child = 2 * at + 1;
        if (child >= rows.length) break;
        if (
          child + 1 < rows.length &&
          this.#isWorse(rows[child + 1]!, scores[child + 1]!, rows[child]!, scores[child]!)
        )
          child += 1;
        if (!this.#isWorse(rows[child]!, scores[child]!, row, score)) break;
        rows[at] = rows[child]!;
        scores[at] = scores[child]!;
        at = child;
      }
    }
    rows[at] = row;
    scores[at] = score;
  }

  /** Returns the selected rows, best first. */
  sorted(): Scored[] {
    const scored = this.#rows.map((row, i) => ({ row, score: this.#scores[i]! }));
    return scored.sort((a, b) => (this.#isWorse(a.row, a.score, b.row, b.score) ? 1 : -1));
  }

  #isWorse(row: number, score: number, thanRow: number, thanScore: number): boolean {
    return score < thanScore || (score === thanScore && this.#ids[row]! > this.#ids[thanRow]!);
  }
}
