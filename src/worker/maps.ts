/** Maps of patches in the page: `GpuPatchMap` is a handle, and `PatchMap` is plain data. */
import type { GpuPatchMap as PageGpuPatchMap } from '../tasks/gpuPatchMap.js';
import { loadPart } from '../platform/part.js';
import type { PatchMap, PatchMapColorOptions } from '../tasks/patchMap.js';
import type { MapDrawOptions } from '../tasks/drawMap.js';
import type { Call } from './call.js';
import { OwnedHandle, type Handle } from './handles.js';
import { expectObject, options } from './packs.js';
import { ask, classes, remote, type PublicClass } from './remote.js';

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
class RemoteMap extends remote<Omit<GpuPatchMap, 'draw' | 'drawTo' | 'read'>>(OwnedHandle, {}) {
  async drawTo(...args: unknown[]): Promise<void> {
    const { sendCanvas } = await loadPart(import('./sendCanvas.js'));
    await ask(this, 'drawTo', [sendCanvas, options], args);
  }

  async read(): Promise<PatchMap> {
    await needPatchMap();
    return (await ask(this, 'read')) as PatchMap;
  }

  async draw(canvas: HTMLCanvasElement | OffscreenCanvas, given: PatchMapColorOptions = {}): Promise<void> {
    (await this.read()).draw(canvas, given);
  }
}
const made: unknown = RemoteMap;
/** A map in the worker, as methods of other classes return it. */
export const GpuPatchMap: PublicClass<GpuPatchMap> = made as PublicClass<GpuPatchMap>;

/**
 * Loads the class of maps in memory. Methods that return such maps call this function first, because most pages
 * do not need the class.
 */
export async function needPatchMap(): Promise<void> {
  classes['PatchMap'] ??= (await loadPart(import('./receivedPatchMap.js'))).ReceivedPatchMap;
}
Object.assign(classes, { GpuPatchMap: RemoteMap });

/** Converts the options of `similarity` for sending. The features of `against` must be in the same worker. */
export function similarityOptions(given: Readonly<Record<string, unknown>> | undefined, call: Call): unknown {
  const sent = options(given, call);
  const against = given?.['against'];
  if (against !== undefined)
    for (const each of [against].flat()) expectObject(call.where, 'Features', each, call.connection);
  return sent;
}
