/**
 * Fits a PCA basis to patches, by the method of the DINOv2 paper (Oquab et al., arXiv 2304.07193, figures 1
 * and 9). The first component of a PCA of all patches separates subject and background. The first three
 * components of a second PCA, of the subject's patches only, become red, green and blue. The paper makes some
 * choices by eye; this file replaces them with rules: Otsu's threshold splits the patches; the subject is the
 * side with fewer patches at the images' borders; each colour spans the 1st to the 99th percentile instead of
 * minimum to maximum.
 */
import { OptionError } from '../errors.js';
import { dot } from '../numerics/eigen.js';
import { borderOf, quantile, splitForeground } from './foreground.js';
import { COMPONENTS, type PcaBasis } from './pcaBasis.js';
import { countOf, PatchMatrix, type Analysis, type PatchFeatures } from './patchMatrix.js';

/**
 * How foreground patches are selected. `auto`: by the method of the DINOv2 paper. `inverted`: the other side
 * of the split, for a subject that fills the border. `none`: no split; one PCA of all patches.
 */
export type ForegroundRule = 'auto' | 'inverted' | 'none';

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
    if (rule === 'none') return toBasis(first, first.mean, everything, noise, undefined);

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
    if (!hasSubject) return toBasis(second, mean, chosen, noise, undefined);
    const direction = main!.vector.map((value) => split.sign * value);
    const threshold = Math.fround(split.sign * split.threshold - dot(direction, second.mean));
    return toBasis(second, mean, chosen, noise, { direction: new Float32Array(direction), threshold });
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
    if (gpu !== first.gpu)
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

function toBasis(
  { components: analysed, totalVariance }: Analysis,
  mean: Float64Array,
  chosen: Uint32Array,
  noise: number,
  foreground: PcaBasis['foreground'],
): PcaBasis {
  const embedDim = mean.length;
  const patches = countOf(chosen);
  const components = new Float32Array(COMPONENTS * embedDim);
  const explainedVariance = new Float32Array(COMPONENTS);
  const explainedVarianceRatio = new Float32Array(COMPONENTS);
  const low = new Float32Array(COMPONENTS);
  const high = new Float32Array(COMPONENTS);
  analysed
    .filter(({ variance }) => variance > noise)
    .forEach(({ variance, vector, scores }, k) => {
      components.set(vector, k * embedDim);
      explainedVariance[k] = (variance * patches) / (patches - 1);
      explainedVarianceRatio[k] = variance / totalVariance;
      const sorted = scores.filter((_, patch) => chosen[patch] === 1).sort();
      low[k] = quantile(sorted, CLIP);
      high[k] = quantile(sorted, 1 - CLIP);
    });
  return {
    embedDim,
    mean: new Float32Array(mean),
    components,
    explainedVariance,
    explainedVarianceRatio,
    low,
    high,
    foreground,
  };
}
