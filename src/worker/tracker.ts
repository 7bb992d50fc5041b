/** `PatchTracker` in the page: a handle to the tracker in the worker. */
import type { PatchTracker as PagePatchTracker, TrackerOptions } from '../tasks/tracking.js';
import type { TrackerMask } from '../tasks/trackingOptions.js';
import { Call } from './call.js';
import type { Features, Moved } from './classes.js';
import { Handle, OwnedHandle } from './handles.js';
import type { GpuPatchMap } from './maps.js';
import { expectObject, handles, options, send } from './packs.js';
import { classes, classOf, remote, type PublicClass } from './remote.js';

/** A tracker in the worker: `PatchTracker` of 'dinov2-webgpu'. */
export interface PatchTracker
  extends Handle, Omit<PagePatchTracker, 'next'>, Moved<PagePatchTracker, 'next'> {}

const RemoteTracker = remote<PatchTracker>(OwnedHandle, { next: [handles('Features'), options] });
classes['PatchTracker'] = RemoteTracker;

/** A tracker in the worker. Use `PatchTracker.start`. */
export const PatchTracker: PublicClass<PatchTracker> & {
  /**
   * Starts a tracker with the first frame and the object in it, in the worker that holds the features.
   * @throws as `PatchTracker.start` of 'dinov2-webgpu'; DeviceError WORKER_LOST
   */
  start(
    features: Features,
    options: Omit<TrackerOptions, 'mask'> & {
      /** The object in the first frame. */
      readonly mask: Exclude<TrackerMask, { readonly buffer: GPUBuffer }> | GpuPatchMap;
    },
  ): Promise<PatchTracker>;
} = Object.assign(RemoteTracker, {
  async start(features: Features, given: object): Promise<PatchTracker> {
    const where = 'PatchTracker.start';
    const call = new Call(where, expectObject(where, 'Features', features).connection);
    const mask = (given as { readonly mask?: unknown } | undefined)?.mask;
    if (mask instanceof Handle) expectObject(where, 'GpuPatchMap', mask, call.connection);
    const packs = [handles('Features'), options];
    return (await send(call, classOf('PatchTracker'), 'start', packs, [features, given])) as PatchTracker;
  },
});
