export {
  DINOv2,
  Features,
  ImageClassifier,
  type FeatureGroup,
  type WorkerLoadOptions,
} from './worker/classes.js';
export { GpuPatchMap } from './worker/maps.js';
export { PCA } from './worker/pca.js';
export { PatchSegmenter } from './worker/segmenter.js';
export { PatchTracker } from './worker/tracker.js';
export { Profile } from './gpu/measure/profile.js';
export { checkForUpdate, checkSupport, listCached, removeCached } from './worker/functions.js';
export { type WorkerOptions } from './worker/start.js';
export { PatchMap } from './tasks/patchMap.js';
export { PatchSimilarity } from './tasks/patchSimilarity.js';
export { patchArea, patchAt } from './tasks/placement.js';
export { type LiveVideo } from './tasks/live.js';
export { correspondences } from './worker/correspondences.js';
export { Correspondences } from './tasks/correspondenceData.js';
export { cosineSimilarity } from './tasks/cosineSimilarity.js';
export { type Pooling } from './tasks/pooling.js';
export {
  CheckpointError,
  ConfigError,
  DeviceError,
  DINOv2Error,
  ImageError,
  OptionError,
  SafetensorsError,
  SourceError,
  type CheckpointCode,
  type ConfigCode,
  type DeviceCode,
  type ImageCode,
  type OptionCode,
  type SafetensorsCode,
  type SourceCode,
} from './errors.js';
