// Float64 twins of shaders/search_*.wgsl, with their loops, and the layout that they read.

/**
 * Rows as the GPU keeps them (shared/search_rows.wgsl), from words (count, rowWords): panels of 64 rows, word
 * by word.
 */
export function panelsOf(
  words: Uint32Array,
  count: number,
  rowWords: number,
  panels: number,
): Uint32Array<ArrayBuffer> {
  const out = new Uint32Array(panels * 64 * rowWords);
  for (let row = 0; row < count; row++) {
    for (let k = 0; k < rowWords; k++)
      out[(Math.floor(row / 64) * rowWords + k) * 64 + (row % 64)] = words[row * rowWords + k]!;
  }
  return out;
}

/** search_scores and search_scores4: rows (count, dim) · queries (numbers, dim), to (queries, count). */
export function searchScores(
  rows: Float64Array,
  queries: readonly Float64Array[],
  dim: number,
): Float64Array[] {
  return queries.map((query) =>
    Float64Array.from({ length: rows.length / dim }, (_, row) => {
      let sum = 0;
      for (let i = 0; i < dim; i++) sum += rows[row * dim + i]! * query[i]!;
      return sum;
    }),
  );
}

/** search_maxima: of the rows that may be found; undefined where a block has none. */
export function searchMaxima(
  scores: Float32Array,
  allowed: readonly boolean[],
  blockRows: number,
): (number | undefined)[] {
  return Array.from({ length: Math.ceil(scores.length / blockRows) }, (_, block) => {
    let largest: number | undefined;
    for (let row = block * blockRows; row < Math.min(scores.length, (block + 1) * blockRows); row++) {
      if (allowed[row] && (largest === undefined || scores[row]! > largest)) largest = scores[row]!;
    }
    return largest;
  });
}

/**
 * search_floor, all bits of the order looked at: the k-th largest less the margin, or the lowest score that
 * is wanted.
 */
export function searchFloor(
  maxima: readonly (number | undefined)[],
  wanted: number,
  margin: number,
  lowest: number,
): number {
  const sorted = maxima.filter((each) => each !== undefined).sort((a, b) => b - a);
  const kth = sorted[wanted - 1];
  return Math.max(kth === undefined ? -3.4e38 : kth - margin, lowest);
}

/** search_collect: rows from the floor on. */
export function searchCollect(scores: Float32Array, allowed: readonly boolean[], floor: number): number[] {
  return Array.from(scores.keys()).filter((row) => allowed[row] && scores[row]! >= floor);
}

/**
 * search_pairs: all (a, b), a < b, of a tile of rows with all behind them, whose labels differ, with their
 * scores.
 */
export function searchPairs(
  rows: Float64Array,
  dim: number,
  labels: Uint32Array,
  tile: { begin: number; end: number },
): { a: number; b: number; score: number }[] {
  const count = rows.length / dim;
  const pairs: { a: number; b: number; score: number }[] = [];
  for (let a = tile.begin; a < Math.min(count, tile.end); a++) {
    for (let b = a + 1; b < count; b++) {
      if (labels[a] === labels[b]) continue;
      let score = 0;
      for (let i = 0; i < dim; i++) score += rows[a * dim + i]! * rows[b * dim + i]!;
      pairs.push({ a, b, score });
    }
  }
  return pairs;
}

/** search_assign: the first of the centres with the highest score, that score and the second highest. */
export function searchAssign(
  rows: Float64Array,
  centers: readonly Float64Array[],
  dim: number,
): { nearest: number; highest: number; second: number }[] {
  const scores = searchScores(rows, centers, dim);
  return Array.from({ length: rows.length / dim }, (_, row) => {
    let best = { nearest: 0, highest: -3.4e38, second: -3.4e38 };
    for (const [center, of] of scores.entries()) {
      const score = of[row]!;
      if (score > best.highest) best = { nearest: center, highest: score, second: best.highest };
      else best = { ...best, second: Math.max(best.second, score) };
    }
    return best;
  });
}
