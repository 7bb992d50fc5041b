/**
 * Segmentation from clicks: patches that belong to an object and patches that do not are enough to fit a small
 * classifier of patches. It stays for the next photographs, until the visitor clicks there or clears it.
 */
import { PatchSegmenter, type PatchMap, type PatchPosition, type SegmenterJSON } from '../../src/index.js';
import { shortName } from '../shared/format.js';
import { map, type Drawn } from './frame.js';
import type { Result } from './result.js';

/** A clicked patch. */
export interface Point extends PatchPosition {
  /** True if the patch belongs to the object. */
  readonly on: boolean;
}

/** The fitted segmenter, and the photograph and model that it was fitted on. */
let fitted: { segmenter: PatchSegmenter; by: unknown; name: string } | undefined;
/** The probabilities of one result and its points. */
let kept: { result: Result; points: string; probabilities: PatchMap | undefined } | undefined;

const textOf = (points: readonly Point[]): string => JSON.stringify(points);

const isComplete = (points: readonly Point[]): boolean =>
  points.some(({ on }) => on) && points.some(({ on }) => !on);

/** Returns the points after a click on a patch: a patch that is a point already is taken out. */
export function withPoint(points: readonly Point[], { row, col }: PatchPosition, on: boolean): Point[] {
  const rest = points.filter((point) => point.row !== row || point.col !== col);
  return rest.length < points.length ? rest : [...rest, { row, col, on }];
}

export const hasSegments = (result: Result, points: readonly Point[]): boolean =>
  kept?.result === result && kept.points === textOf(points);

export async function prepareSegments(
  result: Result,
  points: readonly Point[],
  signal: AbortSignal,
): Promise<void> {
  const { features, loaded, picture } = result;
  if (isComplete(points)) {
    const [positive, negative] = [true, false].map((side) => points.filter(({ on }) => on === side));
    const segmenter = await PatchSegmenter.fit(features, {
      positive: positive!.map(({ row, col }) => ({ row, col })),
      negative: negative!.map(({ row, col }) => ({ row, col })),
      signal,
    });
    fitted = { segmenter, by: loaded, name: picture.name };
  } else if (points.length > 0) fitted = undefined;
  const current = fitted?.by === loaded ? fitted.segmenter : undefined;
  const onGpu = await current?.map(features, { signal });
  try {
    kept = { result, points: textOf(points), probabilities: await onGpu?.read() };
  } finally {
    onGpu?.dispose();
  }
}

/** Forgets the segmenter. */
export function clearSegments(): void {
  fitted = kept = undefined;
}

/** The segmenter as data, if there is one. */
export const segmenterData = (): SegmenterJSON | undefined => fitted?.segmenter.toJSON();

/** Darkens the patches that do not belong to the object; the object shows the photograph. */
export function drawSegments(
  { features, picture }: Result,
  points: readonly Point[],
  pointed: PatchPosition | undefined,
): Drawn {
  const { rows, cols } = features;
  const probabilities = kept!.probabilities;
  const pixels = new ImageData(cols, rows);
  for (let i = 0; probabilities && i < rows * cols; i++) {
    const outside = 1 - probabilities.values[i]!;
    pixels.data.set([14, 16, 34, Math.round(225 * Math.min(1, Math.max(0, 2 * outside - 0.5)))], 4 * i);
  }
  map.width = cols;
  map.height = rows;
  map.getContext('2d')!.putImageData(pixels, 0, 0);
  const inside = probabilities?.values.reduce((sum, value) => sum + (value > 0.5 ? 1 : 0), 0) ?? 0;
  return {
    caption: probabilities
      ? `${inside} of ${rows * cols} patches belong to the object${points.length === 0 ? `, by the clicks on ${shortName(fitted!.name)}` : ''}.`
      : points.some(({ on }) => on)
        ? 'Now click a part that does not belong to it.'
        : points.length > 0
          ? 'Now click a part of the object.'
          : `Click a part of an object in ${shortName(picture.name)}.`,
    mark: pointed,
    points,
  };
}
