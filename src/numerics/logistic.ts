/**
 * Logistic regression with a quadratic penalty, for few examples in many dimensions. The unknowns are one
 * factor for each example instead of one weight for each dimension: at the optimum, the weights are a linear
 * combination of the examples.
 */

/** The result of `fitLogistic`: the probability of an example x is logistic(weights · x + bias). */
export interface LogisticFit {
  /** (dim) */
  readonly weights: Float64Array;
  readonly bias: number;
}

/** Maximum number of Newton steps. A fit with separable classes takes about eight. */
const STEPS = 100;
/** Maximum number of times that a Newton step is halved. */
const MOST_HALVES = 40;
/**
 * The iteration ends when no logit changes by more than this. Newton's method converges quadratically, so the
 * remaining error is far smaller.
 */
const TOLERANCE = 1e-10;
/** Relative increase of the minimised value that is taken for rounding, so that the last steps are made. */
const VALUE_ROUNDING = 1e-14;

/**
 * Minimises, over weights and bias, the mean of log(1 + exp(-y · logit)) plus penalty / 2 · |weights|². In
 * the mean, both classes have the total weight 1/2, so a class with fewer examples counts as much as the
 * other one. The bias has no penalty. Uses Newton's method with step halving. The problem is strictly convex,
 * so there is one solution.
 * @param x the examples (count, dim)
 * @param positive 1 for an example of the positive class, else 0. Both classes need an example
 * @param penalty greater than 0
 */
export function fitLogistic(
  x: Float64Array,
  dim: number,
  positive: Uint8Array,
  penalty: number,
): LogisticFit {
  const count = positive.length;
  const products = gramOf(x, count, dim);
  const positives = positive.reduce((sum, each) => sum + each, 0);
  const importance = Float64Array.from(positive, (each) => 0.5 / (each ? positives : count - positives));
  const signs = Float64Array.from(positive, (each) => (each ? 1 : -1));

  /** The solution is weights = Σ factors · x. `fitted` is products · factors, the logits without the bias. */
  let factors = new Float64Array(count);
  let fitted = new Float64Array(count);
  let bias = 0;
  const objective = (someFactors: Float64Array, someFitted: Float64Array, someBias: number): number => {
    let sum = 0;
    for (let i = 0; i < count; i++) {
      sum += importance[i]! * logOnePlusExp(-signs[i]! * (someFitted[i]! + someBias));
      sum += (penalty / 2) * someFactors[i]! * someFitted[i]!;
    }
    return sum;
  };
  let value = objective(factors, fitted, bias);
  for (let step = 0; step < STEPS; step++) {
    const target = newtonStep({ products, importance, signs, penalty, fitted, bias });
    let share = 1;
    let next = { factors, fitted, bias, value };
    for (let halving = 0; halving < MOST_HALVES; halving++, share /= 2) {
      const someFactors = blend(factors, target.factors, share);
      const someFitted = blend(fitted, target.fitted, share);
      const someBias = bias + share * (target.bias - bias);
      const someValue = objective(someFactors, someFitted, someBias);
      if (someValue <= value * (1 + VALUE_ROUNDING)) {
        next = { factors: someFactors, fitted: someFitted, bias: someBias, value: someValue };
        break;
      }
    }
    const moved = next.fitted.reduce(
      (most, each, i) => Math.max(most, Math.abs(each + next.bias - fitted[i]! - bias)),
      0,
    );
    ({ factors, fitted, bias, value } = next);
    if (moved <= TOLERANCE) break; // also if no share of the step was accepted
  }

  const weights = new Float64Array(dim);
  for (let i = 0; i < count; i++)
    for (let channel = 0; channel < dim; channel++) weights[channel]! += factors[i]! * x[i * dim + channel]!;
  return { weights, bias };
}

/**
 * Solves the least-squares problem that replaces the logistic loss near the present logits. The problem is
 * scaled by the square roots of the second derivatives, so the matrix stays well conditioned when
 * probabilities are close to 0 or 1.
 */
function newtonStep({
  products,
  importance,
  signs,
  penalty,
  fitted,
  bias,
}: {
  readonly products: Float64Array;
  readonly importance: Float64Array;
  readonly signs: Float64Array;
  readonly penalty: number;
  readonly fitted: Float64Array;
  readonly bias: number;
}): { factors: Float64Array<ArrayBuffer>; fitted: Float64Array<ArrayBuffer>; bias: number } {
  const count = fitted.length;
  const roots = new Float64Array(count);
  const wanted = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const logit = fitted[i]! + bias;
    const [likely, unlikely] = [logistic(signs[i]! * logit), logistic(-signs[i]! * logit)];
    const root = Math.sqrt(importance[i]! * likely * unlikely);
    roots[i] = root;
    wanted[i] = root * logit + (root > 0 ? (signs[i]! * importance[i]! * unlikely) / root : 0);
  }
  const matrix = new Float64Array(count * count);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j <= i; j++) matrix[i * count + j] = roots[i]! * products[i * count + j]! * roots[j]!;
    matrix[i * count + i]! += penalty;
  }
  choleskyInPlace(matrix, count);
  const first = solve(matrix, count, wanted);
  const second = solve(matrix, count, roots);
  // The factors must sum to 0: the bias has no penalty, so the derivatives of the loss sum to 0.
  const newBias = inner(roots, first) / inner(roots, second);
  const factors = roots.map((root, i) => root * (first[i]! - newBias * second[i]!));
  const newFitted = new Float64Array(count);
  for (let i = 0; i < count; i++)
    for (let j = 0; j < count; j++) newFitted[i]! += products[i * count + j]! * factors[j]!;
  return { factors, fitted: newFitted, bias: newBias };
}

/** Inner products of all pairs of examples: (count, count). */
function gramOf(x: Float64Array, count: number, dim: number): Float64Array {
  const out = new Float64Array(count * count);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j <= i; j++) {
      const [a, b] = [i * dim, j * dim];
      let sum = 0;
      for (let channel = 0; channel < dim; channel++) sum += x[a + channel]! * x[b + channel]!;
      out[i * count + j] = out[j * count + i] = sum;
    }
  }
  return out;
}

/** Replaces the lower triangle of a positive definite matrix by its Cholesky factor. */
function choleskyInPlace(matrix: Float64Array, n: number): void {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = matrix[i * n + j]!;
      for (let k = 0; k < j; k++) sum -= matrix[i * n + k]! * matrix[j * n + k]!;
      matrix[i * n + j] = i === j ? Math.sqrt(sum) : sum / matrix[j * n + j]!;
    }
  }
}

/** Solves L · Lᵀ · out = right, where the lower triangle of `factor` is L. */
function solve(factor: Float64Array, n: number, right: Float64Array): Float64Array {
  const out = right.slice();
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) out[i]! -= factor[i * n + k]! * out[k]!;
    out[i]! /= factor[i * n + i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) out[i]! -= factor[k * n + i]! * out[k]!;
    out[i]! /= factor[i * n + i]!;
  }
  return out;
}

const inner = (a: Float64Array, b: Float64Array): number => a.reduce((sum, each, i) => sum + each * b[i]!, 0);

const blend = (
  from: Float64Array<ArrayBuffer>,
  to: Float64Array<ArrayBuffer>,
  share: number,
): Float64Array<ArrayBuffer> => from.map((each, i) => each + share * (to[i]! - each));

const logistic = (value: number): number => 1 / (1 + Math.exp(-value));

/** log(1 + exp(value)) without overflow. */
const logOnePlusExp = (value: number): number => Math.max(value, 0) + Math.log1p(Math.exp(-Math.abs(value)));
