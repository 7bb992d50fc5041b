/** Converts between pixels of an image and patches. */
import type { ImagePlacement } from '../image/placement.js';
import { swapsSides, TURN_FLIP_X, TURN_FLIP_Y, TURN_TRANSPOSE, TURNS } from '../image/orientation.js';
import { checkOptions } from '../optionNames.js';
import { wrong, type PatchPosition } from './patchMap.js';

/**
 * A point of an image, in pixels of the image as an <img> shows it: upright, whatever the option
 * `orientation` of the call was. The origin is the top left corner of the image, and the centre of the first
 * pixel is (0.5, 0.5).
 */
export interface ImagePoint {
  /** Pixels from the left edge. May be a fraction. */
  readonly x: number;
  /** Pixels from the top edge. May be a fraction. */
  readonly y: number;
}

/** A rectangle of an image, in pixels of the image as an <img> shows it. */
export interface ImageArea extends ImagePoint {
  /** Width in pixels. */
  readonly width: number;
  /** Height in pixels. */
  readonly height: number;
}

/** Options of `patchAt` and `patchArea`. */
export interface PlacementOptions {
  /** Index of the image in the batch. Default: 0. */
  readonly batchIndex?: number | undefined;
}

/** The part of `Features` that `patchAt` and `patchArea` read. Features of both entries implement it. */
export interface PlacedPatches {
  /** Number of patch rows. */
  readonly rows: number;
  /** Number of patch columns. */
  readonly cols: number;
  /** How the pixels of each image of the batch map to patches. */
  readonly placements: readonly ImagePlacement[];
}

/**
 * Returns the patch that contains a point of the image, or undefined if no patch contains it: the point is
 * outside of the crop, or in a remainder that is not a whole patch. Points on the edge of the crop are in a patch. Knows the resize, the crop and the Exif
 * orientation. If the crop pads the image, points outside of the image may be in a patch of the padding.
 * @throws OptionError OPTION_VALUE, if a coordinate is not finite, or `batchIndex` is out of range;
 *   OPTION_NAME, if an option is unknown
 * @example
 * ```js
 * const x = (event.offsetX / image.clientWidth) * image.naturalWidth;
 * const y = (event.offsetY / image.clientHeight) * image.naturalHeight;
 * const patch = patchAt(features, { x, y }); // { row, col } or undefined
 * ```
 */
export function patchAt(
  features: PlacedPatches,
  point: ImagePoint,
  options: PlacementOptions = {},
): PatchPosition | undefined {
  const { batchIndex = 0 } = checkOptions('patchAt', options);
  return patchOfPoint('patchAt', features, placementAt('patchAt', features.placements, batchIndex), point);
}

/**
 * Returns the rectangle of the image that a patch covers. A patch of padding lies outside of the image.
 * @throws OptionError OPTION_VALUE, if there is no such patch, or `batchIndex` is out of range; OPTION_NAME,
 *   if an option is unknown
 * @example
 * ```js
 * const { x, y, width, height } = patchArea(features, { row: 3, col: 5 });
 * ```
 */
export function patchArea(
  features: PlacedPatches,
  { row, col }: PatchPosition,
  options: PlacementOptions = {},
): ImageArea {
  const { batchIndex = 0 } = checkOptions('patchArea', options);
  const placement = placementAt('patchArea', features.placements, batchIndex);
  const { rows, cols } = features;
  if (![row, col].every(Number.isInteger) || row < 0 || col < 0 || row >= rows || col >= cols)
    throw wrong(
      'patchArea',
      `a patch of the ${rows} × ${cols} grid (rows × columns)`,
      `row ${row}, col ${col}`,
    );
  const [x0, y0] = shownPoint(placement, col, row);
  const [x1, y1] = shownPoint(placement, col + 1, row + 1);
  return { x: Math.min(x0, x1), y: Math.min(y0, y1), width: Math.abs(x1 - x0), height: Math.abs(y1 - y0) };
}

/** Returns the placement of one image. @throws OptionError OPTION_VALUE */
export function placementAt(
  where: string,
  placements: readonly ImagePlacement[],
  batchIndex: number,
): ImagePlacement {
  const placement = placements[batchIndex];
  if (!placement)
    throw wrong(`${where}: batchIndex`, `a whole number from 0 to ${placements.length - 1}`, batchIndex);
  return placement;
}

/** Returns the patch that contains a point. @throws OptionError OPTION_VALUE */
export function patchOfPoint(
  where: string,
  { rows, cols }: Pick<PlacedPatches, 'rows' | 'cols'>,
  placement: ImagePlacement,
  point: ImagePoint,
): PatchPosition | undefined {
  const [across, down] = patchCoordinates(where, placement, point);
  const [row, col] = [cellAt(down, rows), cellAt(across, cols)];
  return row === undefined || col === undefined ? undefined : { row, col };
}

/** Share of a patch by which a point on the edge of the crop may miss the crop, because of rounding. */
const EDGE = 1e-6;

/** Returns the cell of an axis that contains a position. Both ends of the axis belong to its cells. */
function cellAt(position: number, cells: number): number | undefined {
  if (position < -EDGE || position > cells + EDGE) return undefined;
  return Math.min(cells - 1, Math.max(0, Math.floor(position)));
}

/** Returns the position of a point in patches: [0, cols) from the left and [0, rows) from the top. */
export function patchCoordinates(
  where: string,
  placement: ImagePlacement,
  { x, y }: ImagePoint,
): [across: number, down: number] {
  if (!Number.isFinite(x) || !Number.isFinite(y))
    throw wrong(where, 'x and y in pixels, as finite numbers', `x ${x}, y ${y}`);
  const { resizedWidth, resizedHeight, left, top, patchSize } = placement;
  const { turn, width, height } = seenOf(placement);
  let [across, down] = turn & TURN_TRANSPOSE ? [y, x] : [x, y];
  if (turn & TURN_FLIP_X) across = width - across;
  if (turn & TURN_FLIP_Y) down = height - down;
  return [
    ((across * resizedWidth) / width - left) / patchSize,
    ((down * resizedHeight) / height - top) / patchSize,
  ];
}

/** The inverse of `patchCoordinates`. */
function shownPoint(placement: ImagePlacement, across: number, down: number): [x: number, y: number] {
  const { resizedWidth, resizedHeight, left, top, patchSize } = placement;
  const { turn, width, height } = seenOf(placement);
  let x = ((across * patchSize + left) * width) / resizedWidth;
  let y = ((down * patchSize + top) * height) / resizedHeight;
  if (turn & TURN_FLIP_X) x = width - x;
  if (turn & TURN_FLIP_Y) y = height - y;
  return turn & TURN_TRANSPOSE ? [y, x] : [x, y];
}

/** The size of the image as the model sees it, and how to turn the image as shown into it (see `TURNS`). */
function seenOf({ width, height, orientation }: ImagePlacement): {
  turn: number;
  width: number;
  height: number;
} {
  const turn = TURNS[orientation]!;
  return swapsSides(orientation) ? { turn, width: height, height: width } : { turn, width, height };
}
