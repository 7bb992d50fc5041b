/** Similarity search, for those who want it: the published entry `dinov2-webgpu/search`. */
export {
  DeviceError,
  IndexError,
  OptionError,
  type DeviceCode,
  type IndexCode,
  type OptionCode,
} from '../errors.js';
export { EmbeddingIndex } from './embeddingIndex.js';
export { deleteIndex, listIndexes, type KeptIndex } from './store/catalogue.js';
export { modelIdentity, type IdentityOptions } from './identity.js';
export type {
  Change,
  EncodedPatches,
  IndexHeader,
  IndexUsage,
  Journal,
  Metric,
  ModelIdentity,
  PatchStorage,
  StoredItem,
  VectorStorage,
} from './journal.js';
export type {
  ClusterOptions,
  Clusters,
  DuplicateOptions,
  Hit,
  IndexChange,
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
} from './options.js';
export { describeImage, type DescribeOptions, type Description } from './ingest/describe.js';
export { Ingest, ingest } from './ingest/ingest.js';
export type { FileMetadata, IngestFailure, IngestOptions, IngestReport } from './ingest/options.js';
export type { IngestPhase, IngestProgress } from './ingest/progress.js';
export { DroppedFiles, droppedFiles, type IngestSource } from './ingest/source.js';
export {
  askAgain,
  foldersOf,
  forgetIngest,
  originalOf,
  unfinishedIngest,
  type UnfinishedIngest,
} from './ingest/state.js';
export type { IngestFeatures, IngestIndex, IngestModel } from './ingest/target.js';
