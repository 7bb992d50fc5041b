/** `correspondences` in the page: the worker computes, and the page holds the result. */
import { Correspondences, type NearestData } from '../tasks/correspondenceData.js';
import type { CorrespondenceOptions } from '../tasks/correspondences.js';
import { Call } from './call.js';
import type { Features } from './classes.js';
import { expectObject, handles, options, send } from './packs.js';
import { classOf } from './remote.js';

const WHERE = 'correspondences';
const PACKS = [handles('Features'), handles('Features'), options];

/**
 * Finds the patches of two images that correspond to each other, as `correspondences` of 'dinov2-webgpu'.
 * Both features must be in one worker.
 * @throws the errors of `correspondences` of 'dinov2-webgpu'; DeviceError WORKER_LOST
 */
export async function correspondences(
  a: Features,
  b: Features,
  given: CorrespondenceOptions = {},
): Promise<Correspondences> {
  const call = new Call(WHERE, expectObject(WHERE, 'Features', a).connection);
  const data = await send(call, classOf('functions'), WHERE, PACKS, [a, b, given]);
  return new Correspondences(data as NearestData);
}
