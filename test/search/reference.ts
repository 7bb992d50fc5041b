// Brute-force search in float64, the reference for every search.
import { Random } from '../random.ts';

export interface Found {
  readonly id: string;
  readonly score: number;
}

export interface Row {
  readonly id: string;
  /** The stored vector, decoded. */
  readonly vector: Float32Array;
}

/** The query as the index compares it: in float32, and scaled to length 1 for `cosine`. */
export function compared(query: ArrayLike<number>, metric: 'cosine' | 'dot'): Float32Array {
  const norm =
    metric === 'dot' ? 1 : Math.sqrt(Array.from(query).reduce((sum, value) => sum + value * value, 0));
  return Float32Array.from(query, (value) => value / norm);
}

export function bruteForce(
  rows: readonly Row[],
  query: Float32Array,
  topK: number,
  threshold = -Infinity,
): Found[] {
  const scored = rows.map(({ id, vector }) => {
    let score = 0;
    for (let i = 0; i < query.length; i++) score += query[i]! * vector[i]!;
    return { id, score };
  });
  return scored
    .filter(({ score }) => score >= threshold)
    .sort((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1))
    .slice(0, topK);
}

/** Vectors like embeddings: a few directions with noise around them, some equal and some nearly equal. */
export function embeddings(random: Random, count: number, dim: number): Float32Array[] {
  const centers = Array.from({ length: 1 + Math.floor(count / 50) }, () => random.uniform(dim));
  const made: Float32Array[] = [];
  for (let i = 0; i < count; i++) {
    const kind = random.next();
    if (kind < 0.05 && i > 0) made.push(made[random.integer(0, i - 1)]!.slice());
    else {
      const center = random.pick(centers);
      const noise = random.uniform(dim, kind < 0.15 ? 1e-6 : 0.5);
      made.push(center.map((value, j) => value + noise[j]!));
    }
  }
  return made;
}

/** An id for each row. Sorting by id gives another order than sorting by row. */
export const idOf = (row: number): string => `${(row * 7919) % 1_000_003}.jpg`;
