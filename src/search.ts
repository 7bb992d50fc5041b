/**
 * The public entry `dinov2-webgpu/search`: exact similarity search over image embeddings.
 * @module dinov2-webgpu/search
 */
export {
  DeviceError,
  IndexError,
  OptionError,
  type DeviceCode,
  type IndexCode,
  type OptionCode,
} from './errors.js';
export { EmbeddingIndex } from './search/embeddingIndex.js';
export { deleteIndex, listIndexes, type StoredIndex } from './search/store/catalogue.js';
export { modelIdentity, type IdentifiedModel, type IdentityOptions } from './search/identity.js';
export type {
  Change,
  Changes,
  EncodedPatches,
  IndexHeader,
  IndexUsage,
  Journal,
  Metric,
  ModelIdentity,
  PatchStorage,
  StoredItem,
  VectorStorage,
} from './search/journal.js';
export type {
  ClusterOptions,
  Clusters,
  DuplicateOptions,
  ExportOptions,
  Hit,
  IndexChange,
  IndexFolder,
  IndexOptions,
  Item,
  ItemExtras,
  ItemFilter,
  ItemUpdate,
  MapPoint,
  OpenOptions,
  PartHit,
  PartQuery,
  PatchBox,
  PatchTokens,
  SearchBackend,
  SearchOptions,
} from './search/options.js';
export { describeImage, type DescribeOptions, type Description } from './search/ingest/describe.js';
export { Ingest, ingest } from './search/ingest/ingest.js';
export type { FileMetadata, IngestFailure, IngestOptions, IngestReport } from './search/ingest/options.js';
export type { IngestPhase, IngestProgress } from './search/ingest/progress.js';
export { DroppedFiles, droppedFiles, type IngestSource } from './search/ingest/source.js';
export {
  askAgain,
  foldersOf,
  forgetIngest,
  originalOf,
  unfinishedIngest,
  type UnfinishedIngest,
} from './search/ingest/state.js';
export type {
  EmbedFilesOptions,
  IngestFeatures,
  IngestIndex,
  IngestModel,
  IngestResult,
} from './search/ingest/target.js';
