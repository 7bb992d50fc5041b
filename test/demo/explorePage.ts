/** What tests read from the page Explore: its address, and the patches on its map. */
import type { Page } from 'playwright';
import { colours } from './site.js';

export const query = (page: Page): Record<string, string> =>
  Object.fromEntries(new URL(page.url()).searchParams);

/** The last colour of the colour map. */
export const YELLOW = [253, 231, 37, 255];

/** Red, green, blue and alpha of the patches on the map. */
export const pixels = (page: Page): Promise<number[][]> =>
  page.locator('#map').evaluate((canvas) => {
    const { width, height } = canvas as HTMLCanvasElement;
    const copy = new OffscreenCanvas(width, height).getContext('2d')!;
    copy.drawImage(canvas as HTMLCanvasElement, 0, 0);
    const { data } = copy.getImageData(0, 0, width, height);
    return Array.from({ length: width * height }, (_, i) => Array.from(data.subarray(4 * i, 4 * i + 4)));
  });
export const patchColour = async (page: Page, row: number, col: number): Promise<number[]> =>
  (await pixels(page))[row * (await colours(page, 'map')).width + col]!;

/** The point of the window in the middle of a patch of a square grid. */
export async function pointOf(
  page: Page,
  row: number,
  col: number,
  side = 16,
): Promise<[x: number, y: number]> {
  const { x, y, width } = (await page.locator('#map-frame').boundingBox())!;
  return [x + (width / side) * (col + 0.5), y + (width / side) * (row + 0.5)];
}
