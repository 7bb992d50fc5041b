/** Maps of patches in the page: `GpuPatchMap` is a handle, and `PatchMap` is plain data. */
import type { GpuPatchMap as PageGpuPatchMap } from '../tasks/gpuPatchMap.js';
import { PatchMap, type PatchMapColorOptions } from '../tasks/patchMap.js';
import type { Call } from './call.js';
import { OwnedHandle, type Handle } from './handles.js';
import { expectObject, options } from './packs.js';
import { classes, remote, type PublicClass } from './remote.js';

/**
 * A map in the worker: `GpuPatchMap` of 'dinov2-webgpu' without `buffer` and `gpu`. `read` and `draw` need one
 * message to the worker and back.
 */
export interface GpuPatchMap extends Handle, Omit<PageGpuPatchMap, 'buffer' | 'gpu' | 'lease'> {}
class RemoteMap extends remote<Omit<GpuPatchMap, 'draw'>>(OwnedHandle, { read: [] }) {
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
