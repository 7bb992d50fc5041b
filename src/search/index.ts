/** Similarity search, for those who want it: the published entry `dinov2-webgpu/search`. */
export { DeviceError, IndexError, type DeviceCode, type IndexCode } from '../errors.js';
export { EmbeddingIndex } from './embeddingIndex.js';
export { deleteIndex, listIndexes, type KeptIndex } from './store/catalogue.js';
export { modelIdentity, type IdentityOptions } from './identity.js';
export type { Change, EncodedPatches, IndexHeader, Journal, Metric, ModelIdentity, PatchStorage, StoredItem, VectorStorage } from './journal.js';
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
