/**
 * The public entry `dinov2-webgpu/worker`: the same classes, with the model in a worker.
 * @module dinov2-webgpu/worker
 */
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
export { type TrustedWorkerUrl, type WorkerOptions } from './worker/start.js';
export { PatchMap, type PatchMapColorOptions, type PatchPosition } from './tasks/patchMap.js';
export { type MapDrawOptions } from './tasks/drawMap.js';
export {
  type PcaColorOptions,
  type PcaDrawOptions,
  type PcaFitOptions,
  type PcaJSON,
  type PcaRecipe,
  type PictureSize,
} from './tasks/pca.js';
export {
  PatchSimilarity,
  type PatchMatch,
  type PatchSimilarityOptions,
  type PatchTokenReader,
} from './tasks/patchSimilarity.js';
export { type PatchExamples, type PatchRegion, type SimilarityQuery } from './tasks/similarityQuery.js';
export { type SimilarityOptions } from './tasks/similarity.js';
export {
  patchArea,
  patchAt,
  type ImageArea,
  type ImagePoint,
  type PlacedPatches,
  type PlacementOptions,
} from './tasks/placement.js';
export { type ImagePlacement } from './image/placement.js';
export { type LiveFrame, type LiveVideo } from './tasks/live.js';
export { type LiveSource } from './tasks/liveSource.js';
export { type AttentionOptions } from './model/attention.js';
export { type AttentionMapOptions } from './tasks/attentionMap.js';
export {
  type SegmenterFitOptions,
  type SegmenterJSON,
  type SegmenterMapOptions,
  type SegmenterPoint,
} from './tasks/segmentation.js';
export { type LabelMap, type TrackerNextOptions } from './tasks/tracking.js';
export { type CorrespondenceOptions } from './tasks/correspondences.js';
export { correspondences } from './worker/correspondences.js';
export { Correspondences, type Correspondence } from './tasks/correspondenceData.js';
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
