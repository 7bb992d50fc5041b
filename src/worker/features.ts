/** Features whose numbers are on the worker's GPU. */
import type { Features as PageFeatures } from '../model/features.js';
import { options, value } from './call.js';
import { OwnedHandle } from './handles.js';
import { remote, type RemoteClass } from './remote.js';

type FeaturesApi = Omit<PageFeatures, 'buffer' | 'gpu' | 'lease'>;

const RemoteFeatures: RemoteClass<FeaturesApi> = remote<FeaturesApi>(OwnedHandle, {
  clsToken: [],
  poolerOutput: [],
  registerTokens: [],
  patchTokens: [],
  lastHiddenState: [],
  hiddenState: [value, options],
  getIntermediateLayers: [value, options],
  attention: [value, options],
});

/**
 * What `Features` of 'dinov2-webgpu' is, with the work in the worker: every method is a question to it, whose
 * answer comes without a copy. `buffer` and `gpu` are not there, as a page cannot use a worker's.
 */
export class Features extends RemoteFeatures {}
