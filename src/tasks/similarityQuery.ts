/** The query of a similarity: which patches it consists of, with which weights. */
import { ImageError, type OptionError } from '../errors.js';
import type { ImagePlacement } from '../image/placement.js';
import { wrong, type PatchPosition } from './patchMap.js';
import { patchCoordinates, patchOfPoint, type ImageArea, type ImagePoint } from './placement.js';

/** A rectangle of patches. */
export interface PatchRegion extends PatchPosition {
  /** Height in patches. */
  readonly rows: number;
  /** Width in patches. */
  readonly cols: number;
}

/** Patches that the result should resemble, and patches that it should not resemble. */
export interface PatchExamples {
  /** Patches that the result should resemble, by position or by a pixel in them: at least one. */
  readonly positive: readonly (PatchPosition | ImagePoint)[];
  /** Patches that the result should not resemble. Default: none. */
  readonly negative?: readonly (PatchPosition | ImagePoint)[] | undefined;
}

/**
 * The query of a similarity: a patch, the patch that contains a pixel (see `patchAt`), a rectangle of patches,
 * all patches that a rectangle of pixels touches, examples, or a vector of `embedDim` numbers. Several patches
 * become one vector: the mean of their directions minus the mean of the directions of the negative examples.
 */
export type SimilarityQuery =
  PatchPosition | ImagePoint | PatchRegion | ImageArea | PatchExamples | ArrayLike<number>;

/** The patches of an image. */
export interface QueryImage {
  readonly rows: number;
  readonly cols: number;
  /** Undefined if pixels cannot be mapped to patches. */
  readonly placement: ImagePlacement | undefined;
}

/** True if a query is a vector. */
export const isVector = (query: SimilarityQuery): query is ArrayLike<number> => 'length' in query;

/**
 * Returns the weights of the patches of a query, by patch: row · cols + col. The weights of the positive patches
 * add up to 1, and those of the negative patches to -1.
 * @throws OptionError OPTION_VALUE, if the image lacks a patch of the query, or if the weights are all 0
 */
export function weightsOf(
  where: string,
  image: QueryImage,
  query: Exclude<SimilarityQuery, ArrayLike<number>>,
): Map<number, number> {
  const weights = new Map<number, number>();
  const add = (patches: readonly number[], sum: number): void => {
    for (const patch of patches) weights.set(patch, (weights.get(patch) ?? 0) + sum / patches.length);
  };
  if ('positive' in query) {
    const { positive, negative = [] } = query;
    if (positive.length === 0) throw wrong(where, 'at least one positive patch', 'none');
    add(
      positive.flatMap((each) => patchesOf(where, image, each)),
      1,
    );
    add(
      negative.flatMap((each) => patchesOf(where, image, each)),
      -1,
    );
  } else add(patchesOf(where, image, query), 1);
  if ([...weights.values()].every((weight) => Math.abs(weight) < 1e-12))
    throw wrong(where, 'negative examples other than the positive examples', 'the same patches');
  return weights;
}

/** Returns the indices of the patches of a patch or rectangle, row · cols + col. @throws OptionError OPTION_VALUE */
export function patchesOf(
  where: string,
  image: QueryImage,
  query: PatchPosition | PatchRegion | ImagePoint | ImageArea,
): number[] {
  const { row, col, rows = 1, cols = 1 } = 'x' in query ? regionOf(where, image, query) : regionWithin(query);
  const isWhole = [row, col, rows, cols].every(Number.isInteger);
  if (
    !isWhole ||
    row < 0 ||
    col < 0 ||
    rows < 1 ||
    cols < 1 ||
    row + rows > image.rows ||
    col + cols > image.cols
  )
    throw outside(
      where,
      image,
      `row ${row}, col ${col}${rows === 1 && cols === 1 ? '' : `, ${rows} × ${cols} patches`}`,
    );
  return Array.from(
    { length: rows * cols },
    (_, i) => (row + Math.floor(i / cols)) * image.cols + col + (i % cols),
  );
}

const regionWithin = (query: PatchPosition & Partial<PatchRegion>): PatchPosition & Partial<PatchRegion> =>
  query;

const outside = (where: string, { rows, cols }: QueryImage, found: string): OptionError =>
  wrong(where, `patches of the ${rows} × ${cols} grid (rows × columns)`, found);

/** Returns the patches that a point or a rectangle of pixels touches. */
function regionOf(where: string, image: QueryImage, query: ImagePoint & Partial<ImageArea>): PatchRegion {
  const { placement, rows, cols } = image;
  const { x, y, width, height } = query;
  if (!placement)
    throw wrong(where, 'patches by row and col, because these features have no placements', `x ${x}, y ${y}`);
  if (width === undefined && height === undefined) {
    const patch = patchOfPoint(where, image, placement, query);
    if (patch) return { ...patch, rows: 1, cols: 1 };
    throw beside(where, placement, `x ${x}, y ${y}`);
  }
  const found = `x ${x}, y ${y}, width ${width}, height ${height}`;
  if (!(width! > 0 && height! > 0)) throw wrong(where, 'a width and a height above 0', found);
  const [a, b] = [
    patchCoordinates(where, placement, query),
    patchCoordinates(where, placement, { x: x + width!, y: y + height! }),
  ];
  const [left, right] = span(a[0], b[0], cols);
  const [top, bottom] = span(a[1], b[1], rows);
  if (left >= right || top >= bottom) throw beside(where, placement, found);
  return { row: top, col: left, rows: bottom - top, cols: right - left };
}

/** The cells of an axis that lie between two positions: from the first cell until before the second. */
const span = (one: number, other: number, cells: number): [begin: number, end: number] => [
  Math.max(0, Math.floor(Math.min(one, other) + 1e-6)),
  Math.min(cells, Math.ceil(Math.max(one, other) - 1e-6)),
];

const beside = (where: string, { width, height }: ImagePlacement, found: string): OptionError =>
  wrong(
    where,
    `pixels of the ${width} × ${height} image that are in a patch (patchAt gives undefined for others)`,
    found,
  );

/** Scales a vector to length 1 in place. The sum of squares is float64, so it cannot overflow. */
export function scaleToUnit(vector: Float32Array<ArrayBuffer>, where: string): Float32Array<ArrayBuffer> {
  let squares = 0;
  for (const value of vector) squares += value * value;
  if (!Number.isFinite(squares))
    throw new ImageError('INPUT_NOT_FINITE', `${where}: expected finite values, found NaN or infinity.`);
  const length = Math.sqrt(squares);
  if (length > 0) for (let i = 0; i < vector.length; i++) vector[i]! /= length;
  return vector;
}

/**
 * Returns the direction of a vector of the caller: length 1.
 * @throws OptionError OPTION_VALUE, if the vector has the wrong length or is zero; ImageError INPUT_NOT_FINITE
 */
export function unitOf(where: string, query: ArrayLike<number>, embedDim: number): Float32Array<ArrayBuffer> {
  if (query.length !== embedDim) throw wrong(where, `a vector of ${embedDim} numbers`, query.length);
  const unit = scaleToUnit(Float32Array.from(query), where);
  if (unit.every((value) => value === 0)) throw wrong(where, 'a vector with a direction', 'zeros');
  return unit;
}
