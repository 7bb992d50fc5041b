/**
 * The public entry `dinov2-webgpu`: the model, and what is made from its features.
 * @module dinov2-webgpu
 */
export { DINOv2 } from './dinov2.js';
export {
  type BySizeOptions,
  type EmbedAllOptions,
  type EmbedOptions,
  type FeatureGroup,
  type FeatureOptions,
  type ForwardOptions,
  type JsonSource,
  type LiveOptions,
  type LoadOptions,
  type LoadProgress,
  type LoadReport,
  type ModelFiles,
  type PixelSize,
  type PretrainedOptions,
  type TuneOptions,
  type TuningReport,
  type Arithmetic,
} from './options.js';
export { checkForUpdate, listCached, removeCached, type CachedModel } from './cache/cachedModels.js';
export { type AskOptions, type SourceState } from './cache/revalidate.js';
export { type CacheKind } from './storage/store.js';
export { type RetryOptions } from './io/retry.js';
export { type HubOptions } from './io/hub.js';
export { type ByteSource } from './io/sources.js';
export { type Dialect } from './weights/huggingFace.js';
export { type Dtype } from './weights/precision.js';
export { type ImageSource, type Orientation, type RawImage, type SourceOptions } from './image/source.js';
export { type Thumbnail } from './image/thumbnail.js';
export { type PixelOptions, type Pixels } from './image/preprocess.js';
export { type Normalization } from './image/normalization.js';
export {
  type CropRule,
  type Preprocessing,
  type PreprocessingOptions,
  type Resample,
  type Resize,
  type ResizeOptions,
  type ResizeRule,
} from './image/preprocessing.js';
export {
  PCA,
  type ForegroundRule,
  type PatchFeatures,
  type PcaBasis,
  type PcaColorOptions,
  type PcaColorRule,
  type PcaDrawOptions,
  type PcaFitOptions,
  type PcaJSON,
  type PcaRecipe,
  type PictureSize,
} from './tasks/pca.js';
export { PatchMap, type PatchMapColorOptions, type PatchPosition } from './tasks/patchMap.js';
export { type DrawTarget } from './tasks/drawTarget.js';
export {
  PatchSimilarity,
  type PatchMatch,
  type PatchSimilarityOptions,
  type PatchTokenReader,
} from './tasks/patchSimilarity.js';
export { type PatchExamples, type PatchRegion, type SimilarityQuery } from './tasks/similarityQuery.js';
export { type SimilarityFeatures, type SimilarityOptions } from './tasks/similarity.js';
export {
  patchArea,
  patchAt,
  type ImageArea,
  type ImagePoint,
  type PlacedPatches,
  type PlacementOptions,
} from './tasks/placement.js';
export { type ImagePlacement } from './image/placement.js';
export { GpuPatchMap } from './tasks/gpuPatchMap.js';
export { type MapDrawOptions } from './tasks/drawMap.js';
export {
  PatchSegmenter,
  type SegmenterFitOptions,
  type SegmenterImage,
  type SegmenterJSON,
  type SegmenterMapOptions,
  type SegmenterPoint,
} from './tasks/segmentation.js';
export { type SegmenterModel } from './tasks/segmenterModel.js';
export { type ClickableFeatures } from './tasks/clickedPatch.js';
export {
  PatchTracker,
  type LabelMap,
  type TrackerMask,
  type TrackerNextOptions,
  type TrackerOptions,
  type TrackerPick,
} from './tasks/tracking.js';
export { correspondences, type CorrespondenceOptions } from './tasks/correspondences.js';
export { Correspondences, type Correspondence } from './tasks/correspondenceData.js';
export { cosineSimilarity } from './tasks/cosineSimilarity.js';
export { type Pooling } from './tasks/pooling.js';
export {
  ImageClassifier,
  type Classification,
  type ClassifierFeatures,
  type ClassifierFiles,
  type ClassifierModel,
  type ClassifyOptions,
  type ClassLabels,
  type ScoreFunction,
} from './tasks/classifier.js';
export { type ProblemType } from './tasks/classLabels.js';
export { type LiveFrame, type LiveVideo } from './tasks/live.js';
export { type LiveSource } from './tasks/liveSource.js';
export { type Embedded, type EmbeddedPatches, type Embedding } from './tasks/embedAll.js';
export { type MemoryEstimate, type MemoryInput } from './session/memory.js';
export { Features } from './features.js';
export {
  type HiddenStateOptions,
  type IntermediateLayerOptions,
  type LayerWithClassToken,
} from './model/layers.js';
export { type AttentionOptions } from './model/attention.js';
export { type AttentionMapOptions } from './tasks/attentionMap.js';
export { type DINOv2Config, type ModelSize, type PosEmbedConvention } from './model/config.js';
export { checkSupport, type Support } from './support.js';
export { type Health, type NotedLoss } from './health.js';
export { type DeviceLoss } from './session/deviceLoss.js';
export { type AdapterDescription } from './gpu/adapter.js';
export { type OperandType } from './gpu/kernels/kernel.js';
export { type Ceilings } from './gpu/measure/ceilings.js';
export { type Timer } from './gpu/measure/stopwatch.js';
export { type DebugMode } from './gpu/debug/debugGpu.js';
export { type TracedTask } from './gpu/debug/trace.js';
export { type Tuning, type TuningSample } from './gpu/measure/tuner.js';
export { type TuningStore } from './gpu/measure/tuningStore.js';
export { Profile, type DispatchProfile, type KernelProfile, type Throughput } from './gpu/measure/profile.js';
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
export { parseSafetensors, type SafetensorsHeader, type TensorInfo } from './safetensors.js';
