/** Computes what the page shows: the features of each picture, and the nearest patches of the two. */
import {
  correspondences,
  cosineSimilarity,
  PatchSimilarity,
  PCA,
  type Correspondence,
  type Correspondences,
  type Features,
  type PatchRegion,
} from '../../src/index.js';
import type { Loaded } from '../shared/modelChoice.js';
import type { Picture } from '../shared/picture.js';
import type { Input } from './address.js';

/** The features of one picture, with what was read from them. */
export interface Seen {
  readonly picture: Picture;
  readonly loaded: Loaded;
  readonly input: Input;
  readonly features: Features;
  readonly similarity: PatchSimilarity;
  readonly classToken: Float32Array;
  /** Time in ms until the class token was read. */
  readonly forwardMs: number;
}

/** What was computed of two pictures together. */
export interface Compared {
  readonly a: Seen;
  readonly b: Seen;
  readonly nearest: Correspondences;
  /** Cosine of the class tokens. */
  readonly overall: number;
  /** The colours of both pictures in one basis: one canvas pixel per patch. Computed when they are needed. */
  colours?: Readonly<Record<'a' | 'b', HTMLCanvasElement>>;
}

export async function see(
  loaded: Loaded,
  picture: Picture,
  input: Input,
  signal: AbortSignal,
): Promise<Seen> {
  const startMs = performance.now();
  const features = await loaded.model.features(picture.bitmap, {
    resize: 'fit',
    longestSide: input,
    signal,
  });
  try {
    const classToken = await features.clsToken();
    const forwardMs = performance.now() - startMs;
    const similarity = await PatchSimilarity.read(features);
    signal.throwIfAborted();
    return { picture, loaded, input, features, similarity, classToken, forwardMs };
  } catch (error) {
    features.dispose();
    throw error;
  }
}

/** Finds the nearest patch of each patch. The page selects among them in memory, without the GPU. */
export async function compare(a: Seen, b: Seen, signal: AbortSignal): Promise<Compared> {
  const nearest = await correspondences(a.features, b.features, { mutual: false, signal });
  return { a, b, nearest, overall: cosineSimilarity(a.classToken, b.classToken) };
}

/** Fits one basis to both pictures, so that the same colour means the same in both. */
export async function paint(compared: Compared, signal: AbortSignal): Promise<void> {
  const { a, b } = compared;
  const pca = await PCA.fit([a.features, b.features], { signal });
  const colours = { a: document.createElement('canvas'), b: document.createElement('canvas') };
  await pca.draw(a.features, colours.a, { signal });
  await pca.draw(b.features, colours.b, { signal });
  compared.colours = colours;
}

export interface Selection {
  readonly count: number;
  readonly least: number;
  readonly mutual: boolean;
  readonly region: PatchRegion | undefined;
}

/**
 * Selects among the nearest patches, the highest score first: the same pairs as `correspondences` with these
 * options.
 * @returns the pairs, and how many there are without the limit of their number
 */
export function select(
  { nearest }: Compared,
  { count, least, mutual, region }: Selection,
): { matches: readonly Correspondence[]; total: number } {
  const all = nearest.matches.filter(({ a, b, score }) => {
    if (score < least || (region && !contains(region, a))) return false;
    const back = nearest.nearestInA(b.row, b.col);
    return !mutual || (back.row === a.row && back.col === a.col);
  });
  return { matches: all.slice(0, count), total: all.length };
}

const contains = (region: PatchRegion, { row, col }: { row: number; col: number }): boolean =>
  row >= region.row && row < region.row + region.rows && col >= region.col && col < region.col + region.cols;
