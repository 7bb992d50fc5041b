/** Maps of patches in the page: `GpuPatchMap` is a handle, and `PatchMap` is plain data. */
import type { GpuPatchMap as PageGpuPatchMap } from '../tasks/gpuPatchMap.js';
import { PatchMap, type PatchMapColorOptions } from '../tasks/patchMap.js';
import type { MapDrawOptions } from '../tasks/drawMap.js';
import type { Call } from './call.js';
import { OwnedHandle, type Handle } from './handles.js';
import { expectObject, options } from './packs.js';
import { classes, remote, type PublicClass } from './remote.js';
import { sendCanvas } from './sendCanvas.js';

/**
 * A map in the worker: `GpuPatchMap` of 'dinov2-webgpu' without `buffer` and `gpu`. `read` and `draw` need one
 * message to the worker and back.
 */
export interface GpuPatchMap extends Handle, Omit<PageGpuPatchMap, 'buffer' | 'gpu' | 'lease' | 'drawTo'> {
  /**
   * Draws the map on the whole of a canvas, without reading anything back. The first call hands the canvas over
   * to the worker, which draws on it from then on without the page. The canvas keeps the width and height that
   * it had at the first call.
   * @throws as `drawTo` of 'dinov2-webgpu'; ImageError IMAGE_TYPE, if the canvas has a context; OptionError
   *   OPTION_VALUE, if it is not a canvas, or if another worker has it
   */
  drawTo(target: HTMLCanvasElement | OffscreenCanvas, options?: MapDrawOptions): Promise<void>;
}
class RemoteMap extends remote<Omit<GpuPatchMap, 'draw'>>(OwnedHandle, {
  read: [],
  drawTo: [sendCanvas, options],
}) {
  async draw(canvas: HTMLCanvasElement | OffscreenCanvas, given: PatchMapColorOptions = {}): Promise<void> {
    (await this.read()).draw(canvas, given);
  }
}
const made: unknown = RemoteMap;
/** A map in the worker, as methods of other classes return it. */
export const GpuPatchMap: PublicClass<GpuPatchMap> = made as PublicClass<GpuPatchMap>;

/** Restores a map in memory. */
class ReceivedPatchMap {
  constructor({ rows, cols, values }: PatchMap) {
    return new PatchMap(rows, cols, values);
  }
}
Object.assign(classes, { GpuPatchMap: RemoteMap, PatchMap: ReceivedPatchMap });

/** Converts the options of `similarity` for sending. The features of `against` must be in the same worker. */
export function similarityOptions(given: Readonly<Record<string, unknown>> | undefined, call: Call): unknown {
  const sent = options(given, call);
  const against = given?.['against'];
  if (against !== undefined)
    for (const each of [against].flat()) expectObject(call.where, 'Features', each, call.connection);
  return sent;
}
