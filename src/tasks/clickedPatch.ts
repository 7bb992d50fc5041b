/** Patches that a person clicks or picks: by row and column, or by a pixel of the image. */
import type { ImagePlacement } from '../image/placement.js';
import { wrong } from './patchMap.js';
import type { PatchFeatures } from './patchMatrix.js';
import type { PatchPosition } from './patchMap.js';
import { patchOfPoint, type ImagePoint } from './placement.js';

/** Features whose patches can be clicked. `Features` implements it. */
export interface ClickableFeatures extends PatchFeatures {
  /** How the pixels of each image of the batch map to patches. Needed only for clicks by pixel. */
  readonly placements?: readonly ImagePlacement[] | undefined;
}

/** Returns the index of a clicked patch, row · cols + col. @throws OptionError OPTION_VALUE */
export function indexOfClick(
  where: string,
  { rows, cols, placements }: Pick<ClickableFeatures, 'rows' | 'cols' | 'placements'>,
  batchIndex: number,
  click: PatchPosition | ImagePoint,
): number {
  const side = ['rows', 'cols', 'width', 'height'].find((name) => name in click);
  if (side !== undefined) throw wrong(where, 'one patch or one pixel', `a rectangle with ${side}`);
  if ('x' in click) {
    const placement = placements?.[batchIndex];
    if (!placement)
      throw wrong(
        where,
        'row and col, because these features have no placements',
        `x ${click.x}, y ${click.y}`,
      );
    const patch = patchOfPoint(where, { rows, cols }, placement, click);
    if (!patch)
      throw wrong(where, 'a pixel that a patch contains (see patchAt)', `x ${click.x}, y ${click.y}`);
    return patch.row * cols + patch.col;
  }
  const { row, col } = click;
  const isInside = [row, col].every(Number.isInteger) && row >= 0 && col >= 0 && row < rows && col < cols;
  if (!isInside)
    throw wrong(where, `a patch of the ${rows} × ${cols} grid (rows × columns)`, `row ${row}, col ${col}`);
  return row * cols + col;
}
