/** The worker's side of canvases on which the worker draws. */

/** The canvases that the page handed over, by number. */
const canvases = new Map<number, OffscreenCanvas>();

/** Returns the canvas with a number. `arrived` is the canvas itself, in the first message about it. */
export function canvasOf(id: number, arrived: OffscreenCanvas | undefined): OffscreenCanvas | undefined {
  if (arrived) canvases.set(id, arrived);
  return canvases.get(id);
}
