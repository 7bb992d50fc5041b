export { DINOv2, type FeatureGroup, type WorkerLoadOptions } from './model.js';
export { Features } from './features.js';
export { ImageClassifier } from './classifier.js';
export { PCA } from './pca.js';
export { Profile } from '../gpu/profile.js';
export { checkForUpdate, checkSupport, listCached, removeCached } from './storage.js';
export { type WorkerOptions } from './start.js';
export { cosineSimilarity, type Pooling } from '../tasks/pooling.js';
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
} from '../errors.js';
