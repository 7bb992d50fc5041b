/** Similarity maps on the CPU in float64: references of the kernels of shaders/patch_similarity.wgsl. */

type Numbers = ArrayLike<number>;

/** A token of x (tokens, dim), and its weight in a query. */
export interface ChosenToken {
  readonly token: number;
  readonly weight: number;
}

const lengthOf = (x: Numbers, begin: number, dim: number): number => {
  let sum = 0;
  for (let i = 0; i < dim; i++) sum += x[begin + i]! ** 2;
  return Math.sqrt(sum);
};

/** Sums of the weighted directions of 16 chosen tokens each: (ceil(chosen / 16), dim + 4). */
export function similaritySums(x: Numbers, chosen: readonly ChosenToken[], dim: number): Float64Array {
  const sums = new Float64Array(Math.ceil(chosen.length / 16) * (dim + 4));
  for (const [i, { token, weight }] of chosen.entries()) {
    const length = lengthOf(x, token * dim, dim);
    const out = Math.floor(i / 16) * (dim + 4);
    if (!Number.isFinite(length)) sums[out + dim] = 1;
    else if (length > 0)
      for (let k = 0; k < dim; k++) sums[out + k]! += (weight * x[token * dim + k]!) / length;
  }
  return sums;
}

/** The unit vector of the sums: (dim + 4). */
export function similarityQuery(sums: Numbers, dim: number): Float64Array {
  const query = new Float64Array(dim + 4);
  for (let i = 0; i < sums.length; i++) query[i % (dim + 4)]! += sums[i]!;
  const length = lengthOf(query, 0, dim);
  for (let i = 0; i < dim; i++) query[i]! /= length > 0 ? length : 1;
  query[dim] = Math.min(1, query[dim]!);
  return query;
}

/** Cosines of `count` tokens from `firstToken` on with a unit vector: (count). */
export function similarityMap(
  x: Numbers,
  unit: Numbers,
  firstToken: number,
  count: number,
  dim: number,
): Float64Array {
  return Float64Array.from({ length: count }, (_, patch) => {
    const begin = (firstToken + patch) * dim;
    const length = lengthOf(x, begin, dim);
    if (unit[dim] !== 0 || !Number.isFinite(length)) return NaN;
    let sum = 0;
    for (let i = 0; i < dim; i++) sum += x[begin + i]! * unit[i]!;
    return length > 0 ? sum / length : 0;
  });
}
