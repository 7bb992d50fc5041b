/**
 * Fits a PCA basis to patches, by one of several recipes (see `PcaRecipe`). The recipe `paper` makes the
 * pictures of the DINOv2 paper (Oquab et al., arXiv 2304.07193, figures 1 and 9). The first component of a PCA of
 * all patches separates subject and background. The first three components of a second PCA, of the subject's
 * patches only, become red, green and blue. The paper makes some choices by eye; this file replaces them with
 * rules: Otsu's threshold splits the patches; the subject is the side with fewer patches at the images'
 * borders; each colour spans the 1st to the 99th percentile instead of minimum to maximum.
 */
import { OptionError } from '../errors.js';
import type { Task } from '../gpu/task.js';
import { dot } from '../numerics/eigen.js';
import { borderOf, quantile, splitForeground } from './foreground.js';
import { COMPONENTS, type PcaBasis } from './pcaBasis.js';
import { countOf, PatchMatrix, type Analysis, type PatchFeatures } from './patchMatrix.js';

/**
 * How foreground patches are selected. `auto`: by the method of the DINOv2 paper. `inverted`: the other side
 * of the split, for a subject that fills the border. `none`: no split; all patches are foreground.
 */
export type ForegroundRule = 'auto' | 'inverted' | 'none';

/**
 * How patches become colours. Every recipe shows the first three components of the foreground patches.
 *
 * - `plain`: each colour spans the 1st to the 99th percentile of the component's scores. All patches are
 *   foreground, unless the option `foreground` says otherwise.
 * - `paper`: as figures 1 and 9 of the DINOv2 paper (Oquab et al., arXiv 2304.07193): as `plain`, but
 *   `foreground` is `auto` by default. Fit to several images of one kind of subject to colour its parts alike,
 *   as the paper does.
 * - `notebook`: as the PCA notebook of facebookresearch/dinov2 (pull request 187): each colour spans the smallest
 *   to the largest score of all patches, also of the background. The notebook finds the foreground with a
 *   vector that exists for ViT-B only, so here all patches are foreground, unless the option `foreground` says
 *   otherwise.
 * - `whitened`: as the PCA notebook of facebookresearch/dinov3: each score is divided by the component's
 *   standard deviation s over the foreground (scikit-learn's `whiten=True`), and the colour is
 *   sigmoid(2 · score / s). The notebook finds the foreground with a classifier, so here all patches are
 *   foreground, unless the option `foreground` says otherwise.
 */
export type PcaRecipe = 'plain' | 'paper' | 'notebook' | 'whitened';

/** The recipes, for checks of options. */
export const PCA_RECIPES: readonly PcaRecipe[] = ['plain', 'paper', 'notebook', 'whitened'];

/**
 * Share of the patches whose scores are clipped at either end, so that a few patches do not use up the
 * contrast.
 */
const CLIP = 0.01;
/**
 * Smallest variance of a component, as a share of the patches' mean square. A smaller variance is rounding
 * noise and gives no component.
 */
const SMALLEST_SHARE = 1e-10;
/** Minimum number of patches: three components need at least four patches. */
const FEWEST_PATCHES = COMPONENTS + 1;

/** Fits one basis to the patches of all images. */
export async function fitBasis(
  images: readonly PatchFeatures[],
  recipe: PcaRecipe,
  rule: ForegroundRule,
  signal?: AbortSignal,
): Promise<PcaBasis> {
  signal?.throwIfAborted();
  checkImages(images);
  return images[0]!.gpu.task('PCA.fit', signal, async (task) => {
    const patches = await PatchMatrix.create(task, images);
    const everything = new Uint32Array(patches.count).fill(1);
    const first = await patches.analyse(everything, rule === 'none' ? COMPONENTS : 1);
    const noise = SMALLEST_SHARE * (dot(first.mean, first.mean) + first.totalVariance);
    const fit = { recipe, noise };
    if (rule === 'none') return toBasis(first, first.mean, everything, undefined, fit);

    const [main] = first.components;
    const split =
      main && main.variance > noise
        ? splitForeground(main.scores, bordersOf(images), rule === 'inverted')
        : undefined;
    const subject = split
      ? Uint32Array.from(main!.scores, (score) => (split.sign * (score - split.threshold) > 0 ? 1 : 0))
      : everything;
    const hasSubject = split && countOf(subject) >= FEWEST_PATCHES;
    const chosen = hasSubject ? subject : everything;
    const second = await patches.analyse(chosen, COMPONENTS);
    // The second analysis reads centred patches, so its mean is relative to the first mean. The threshold
    // must be shifted, too.
    const mean = first.mean.map((value, i) => value + second.mean[i]!);
    if (!hasSubject) return toBasis(second, mean, chosen, undefined, fit);
    const direction = main!.vector.map((value) => split.sign * value);
    const threshold = Math.fround(split.sign * split.threshold - dot(direction, second.mean));
    const foreground = { direction: new Float32Array(direction), threshold };
    // The analysis has only the scores of the subject.
    const scores = recipe === 'notebook' ? await scoresOf(task, images, second, mean) : undefined;
    return toBasis(second, mean, chosen, foreground, { ...fit, scores });
  });
}

function checkImages(images: readonly PatchFeatures[]): void {
  const [first] = images;
  if (!first)
    throw new OptionError(
      'OPTION_VALUE',
      'PCA.fit: expected features of at least one image, found none. Pass the result of model.features(), or an array of such results.',
    );
  for (const { gpu, embedDim } of images) {
    if (embedDim !== first.embedDim) {
      throw new OptionError(
        'OPTION_VALUE',
        `PCA.fit: expected features from one model, found ${first.embedDim} and ${embedDim} channels. Fit one basis per model.`,
      );
    }
    if (gpu.device !== first.gpu.device)
      throw new OptionError(
        'OPTION_VALUE',
        'PCA.fit: the features are on different devices. Compute all features with one model.',
      );
  }
}

function bordersOf(images: readonly PatchFeatures[]): Uint8Array {
  const each = images.flatMap(({ batch, rows, cols }) =>
    Array.from({ length: batch }, () => borderOf(rows, cols)),
  );
  const all = new Uint8Array(each.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const border of each) {
    all.set(border, at);
    at += border.length;
  }
  return all;
}

/** Returns the scores of all patches along the components: (components, patches). */
async function scoresOf(
  task: Task,
  images: readonly PatchFeatures[],
  { components }: Analysis,
  mean: Float64Array,
): Promise<Float64Array[]> {
  const vectors = components.map(({ vector }) => vector);
  const products = await (await PatchMatrix.create(task, images)).products(vectors);
  return products.map((scores, k) => {
    const center = dot(mean, vectors[k]!);
    return scores.map((score) => score - center);
  });
}

/** What the colours of a basis depend on, apart from the components. */
interface Fit {
  readonly recipe: PcaRecipe;
  /** Smallest variance of a component that is not rounding noise. */
  readonly noise: number;
  /** Scores of all patches by component. Undefined: those of the analysis are scores of all patches. */
  readonly scores?: readonly Float64Array[] | undefined;
}

function toBasis(
  { components: analysed, totalVariance }: Analysis,
  mean: Float64Array,
  chosen: Uint32Array,
  foreground: PcaBasis['foreground'],
  { recipe, noise, scores: all }: Fit,
): PcaBasis {
  const embedDim = mean.length;
  const patches = countOf(chosen);
  const components = new Float32Array(COMPONENTS * embedDim);
  const explainedVariance = new Float32Array(COMPONENTS);
  const explainedVarianceRatio = new Float32Array(COMPONENTS);
  const low = new Float32Array(COMPONENTS);
  const high = new Float32Array(COMPONENTS);
  analysed.forEach(({ variance, vector, scores }, k) => {
    if (!(variance > noise)) return;
    components.set(vector, k * embedDim);
    explainedVariance[k] = (variance * patches) / (patches - 1);
    explainedVarianceRatio[k] = variance / totalVariance;
    const deviation = Math.sqrt(explainedVariance[k]!);
    const [from, to] =
      recipe === 'whitened'
        ? [-deviation, deviation] // sigmoid(4 · t - 2) is then sigmoid(2 · score / deviation)
        : recipe === 'notebook'
          ? quantiles(all?.[k] ?? scores, 0)
          : quantiles(
              scores.filter((_, patch) => chosen[patch] === 1),
              CLIP,
            );
    low[k] = from;
    high[k] = to;
  });
  return {
    embedDim,
    mean: new Float32Array(mean),
    components,
    explainedVariance,
    explainedVarianceRatio,
    low,
    high,
    colorRule: recipe === 'whitened' ? 'sigmoid' : 'linear',
    foreground,
  };
}

/** Returns the quantiles `clip` and `1 - clip` of the scores. */
function quantiles(scores: Float64Array, clip: number): readonly [number, number] {
  const sorted = scores.slice().sort();
  return [quantile(sorted, clip), quantile(sorted, 1 - clip)];
}
