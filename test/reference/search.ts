// Float64 references of shaders/search_*.wgsl, and the packed layout that the shaders read.

/**
 * Packs rows of words (count, rowWords) in the layout of shared/search_rows.wgsl: panels of 64 rows, and in a panel
 * the first word of every row, then the second, and so on.
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

/** Reference of search_scores and search_scores4: rows (count, dim) · queries (queries, dim) → (queries, count). */
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

/** Reference of search_maxima: the highest score of the allowed rows of each block; undefined if a block has none. */
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
 * Reference of search_floor without ignored bits: the k-th largest maximum minus the margin, but at least `lowest`.
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

/** Reference of search_collect: the allowed rows with a score of at least the floor. */
export function searchCollect(scores: Float32Array, allowed: readonly boolean[], floor: number): number[] {
  return Array.from(scores.keys()).filter((row) => allowed[row] && scores[row]! >= floor);
}

/**
 * Reference of search_pairs: all pairs a < b with different labels, where a is in the tile, and their scores.
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

/** Reference of search_assign: the first centre with the highest score, that score and the second-highest score. */
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
