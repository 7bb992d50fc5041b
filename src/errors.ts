/**
 * All error classes and codes. A message about a value has the form
 * `<where>: expected …, found …. <what to do>.` A message about a failure or a state names it directly.
 */

/** The base class of all errors of this library. `code` is meant for programs, `message` for people. */
export class DINOv2Error extends Error {
  /** The name of the class. It is a constant, because minifiers rename classes. */
  override readonly name: string = 'DINOv2Error';
  /** Identifies the error. Codes stay the same between versions; messages do not. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Codes of `SafetensorsError`: the ways in which a file can violate the safetensors format. */
export type SafetensorsCode =
  | 'FILE_TOO_SMALL'
  | 'HEADER_EMPTY'
  | 'HEADER_TOO_LARGE'
  | 'HEADER_PAST_EOF'
  | 'HEADER_UTF8'
  | 'HEADER_NOT_OBJECT'
  | 'HEADER_JSON'
  | 'HEADER_TRAILING'
  | 'DUPLICATE_KEY'
  | 'UNKNOWN_FIELD'
  | 'MISSING_FIELD'
  | 'FIELD_TYPE'
  | 'METADATA_NOT_STRING'
  | 'DTYPE_UNKNOWN'
  | 'SUBBYTE_MISALIGNED'
  | 'NUMBER_NOT_UINT'
  | 'NUMBER_TOO_BIG'
  | 'SIZE_MISMATCH'
  | 'OFFSETS_ARITY'
  | 'OFFSETS_REVERSED'
  | 'OFFSETS_HOLE'
  | 'OFFSETS_OVERLAP'
  | 'DATA_TRUNCATED'
  | 'TRAILING_BYTES';

/** The bytes are not a safetensors file. */
export class SafetensorsError extends DINOv2Error {
  override readonly name = 'SafetensorsError';
  declare readonly code: SafetensorsCode;
  constructor(code: SafetensorsCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

/**
 * Codes of `SourceError`.
 *
 * - `SOURCE_FETCH`: the network failed, or the server answered with an error status
 * - `SOURCE_IS_HTML`: the server sent a web page instead of a file
 * - `SOURCE_TRUNCATED`: fewer bytes arrived than the source announced
 * - `SOURCE_TOO_LONG`: more bytes arrived than the source announced
 * - `SOURCE_CHANGED`: the file changed while it was read
 * - `SOURCE_INTEGRITY`: the SHA-256 differs from the expected one
 * - `SOURCE_INDEX`: model.safetensors.index.json and the shards do not match
 * - `SOURCE_URL`: the text is not a URL that can be fetched
 * - `SOURCE_READ`: reading a File, Blob or stream failed
 */
export type SourceCode =
  | 'SOURCE_FETCH'
  | 'SOURCE_IS_HTML'
  | 'SOURCE_TRUNCATED'
  | 'SOURCE_TOO_LONG'
  | 'SOURCE_CHANGED'
  | 'SOURCE_INTEGRITY'
  | 'SOURCE_INDEX'
  | 'SOURCE_URL'
  | 'SOURCE_READ';

/** A file could not be read: the network, the server or the storage failed. */
export class SourceError extends DINOv2Error {
  override readonly name = 'SourceError';
  declare readonly code: SourceCode;
  /** The HTTP status, if a server answered with an error. */
  readonly status: number | undefined;
  constructor(
    code: SourceCode,
    message: string,
    { status, ...options }: ErrorOptions & { readonly status?: number | undefined } = {},
  ) {
    super(code, message, options);
    this.status = status;
  }
}

/**
 * Codes of `CheckpointError`.
 *
 * - `CHECKPOINT_TENSORS`: tensors are missing or have the wrong shape; the message lists them
 * - `CHECKPOINT_DTYPE`: the element type of a tensor cannot be loaded
 * - `CHECKPOINT_NAMING`: the tensor names follow no known naming convention (Hugging Face, facebookresearch,
 *   timm), or the file holds several models
 * - `CHECKPOINT_NOT_FINITE`: a weight is NaN or infinite
 * - `CHECKPOINT_RANGE`: a weight is too large for the requested element type
 */
export type CheckpointCode =
  | 'CHECKPOINT_TENSORS'
  | 'CHECKPOINT_DTYPE'
  | 'CHECKPOINT_NAMING'
  | 'CHECKPOINT_NOT_FINITE'
  | 'CHECKPOINT_RANGE';

/** The safetensors file is valid, but it is not a checkpoint of this model. */
export class CheckpointError extends DINOv2Error {
  override readonly name = 'CheckpointError';
  declare readonly code: CheckpointCode;
  constructor(code: CheckpointCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

/**
 * Codes of `ConfigError`.
 *
 * - `CONFIG_JSON`: the file is not valid JSON
 * - `CONFIG_FIELD`: a field is missing, has the wrong type, or is out of range
 * - `CONFIG_UNSUPPORTED`: the model is not a DINOv2 model, or has a setting that the library does not support
 */
export type ConfigCode = 'CONFIG_JSON' | 'CONFIG_FIELD' | 'CONFIG_UNSUPPORTED';

/** config.json does not describe a DINOv2 model that the library can compute. */
export class ConfigError extends DINOv2Error {
  override readonly name = 'ConfigError';
  declare readonly code: ConfigCode;
  constructor(code: ConfigCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

/**
 * Codes of `ImageError`.
 *
 * - `IMAGE_DECODE`: the bytes are not an image that the library or the browser can decode
 * - `IMAGE_TYPE`: the value is not an image source
 * - `IMAGE_FETCH`: the image could not be fetched from its URL
 * - `IMAGE_SIZE`: the image is empty, or too large for memory
 * - `INPUT_SHAPE`: the pixels do not have the stated shape, or the images of a batch differ in size
 * - `INPUT_NOT_FINITE`: pixels are NaN or infinite
 */
export type ImageCode =
  'IMAGE_DECODE' | 'IMAGE_TYPE' | 'IMAGE_FETCH' | 'IMAGE_SIZE' | 'INPUT_SHAPE' | 'INPUT_NOT_FINITE';

/** An image, or an array of pixels, cannot be used. */
export class ImageError extends DINOv2Error {
  override readonly name = 'ImageError';
  declare readonly code: ImageCode;
  constructor(code: ImageCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

/**
 * Codes of `OptionError`.
 *
 * - `OPTION_VALUE`: an option or argument has a value that the call cannot use
 * - `OPTION_NAME`: no call of the library has an option of this name
 */
export type OptionCode = 'OPTION_VALUE' | 'OPTION_NAME';

/** An option or argument cannot be used. */
export class OptionError extends DINOv2Error {
  override readonly name = 'OptionError';
  declare readonly code: OptionCode;
  constructor(code: OptionCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

/**
 * Codes of `DeviceError`.
 *
 * - `WEBGPU_MISSING`: `navigator.gpu` does not exist
 * - `WEBGPU_INSECURE`: the page is not a secure context (https or localhost)
 * - `ADAPTER_MISSING`: WebGPU exists, but offers no adapter
 * - `DEVICE_FAILED`: `requestDevice` failed, or the GPU rejected or did not finish an operation
 * - `DEVICE_LOST`: the device was lost
 * - `DEVICE_REFUSED`: the device was lost, and the browser provides no new one
 * - `DEVICE_LIMIT`: a buffer or texture would exceed a limit of the device
 * - `DEVICE_MEMORY`: the GPU ran out of memory
 * - `KERNEL_COMPILE`: a shader or pipeline did not compile
 * - `KERNEL_NOT_FINITE`: with the option `debug: 'check'`, a kernel wrote NaN or infinity
 * - `KERNEL_WRONG`: the self-test, or a check of a result, found that a kernel computes wrong values on this
 *   adapter
 * - `DISPOSED`: the object was used after `dispose()`
 * - `WORKER_LOST`: the worker did not start, or ended
 * - `WORKER_OPTION`: an option cannot be sent to a worker
 */
export type DeviceCode =
  | 'WEBGPU_MISSING'
  | 'WEBGPU_INSECURE'
  | 'ADAPTER_MISSING'
  | 'DEVICE_FAILED'
  | 'DEVICE_LOST'
  | 'DEVICE_REFUSED'
  | 'DEVICE_LIMIT'
  | 'DEVICE_MEMORY'
  | 'KERNEL_COMPILE'
  | 'KERNEL_NOT_FINITE'
  | 'KERNEL_WRONG'
  | 'DISPOSED'
  | 'WORKER_LOST'
  | 'WORKER_OPTION';

/** The GPU, or the worker that uses it, failed or is missing. */
export class DeviceError extends DINOv2Error {
  override readonly name = 'DeviceError';
  declare readonly code: DeviceCode;
  constructor(code: DeviceCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

/** The error that every method of a model throws after `dispose()`. */
export const modelDisposed = (): DeviceError =>
  new DeviceError('DISPOSED', 'The model is disposed. Load the model again.');

/**
 * Codes of `IndexError`.
 *
 * - `INDEX_OPTIONS`: an option has an invalid value, or options contradict each other
 * - `INDEX_ID`: the value is not an id
 * - `INDEX_VECTOR`: a vector has the wrong length, is zero or not finite, or is too large for its storage
 *   type
 * - `INDEX_METADATA`: the metadata is not a JSON value
 * - `INDEX_PATCHES`: the patches have the wrong format for the index, or the index stores no patches
 * - `INDEX_DUPLICATE_ID`: the index already has an item with this id
 * - `INDEX_UNKNOWN_ID`: the index has no item with this id
 * - `INDEX_MODEL`: the vectors were made by a different model or with a different preprocessing
 * - `INDEX_HEADER`: the dimension, metric or storage type differs from that of the stored index
 * - `INDEX_NEWER`: the index was written by a newer version of the library
 * - `INDEX_FILE`: the file is not an index, or is damaged
 * - `INDEX_NAME`: the value cannot be the name of an index
 * - `INDEX_STORAGE`: the browser offers no storage, or the storage failed
 * - `INDEX_QUOTA`: the storage is full. The change was not made
 * - `INDEX_DAMAGED`: stored data is damaged; `items` lists the items that are lost
 * - `INDEX_GONE`: the index was deleted or evicted while it was open
 * - `INDEX_BLOCKED`: another page has the index open and does not close it
 * - `INDEX_DISPOSED`: the index was used after `dispose()`
 */
export type IndexCode =
  | 'INDEX_OPTIONS'
  | 'INDEX_ID'
  | 'INDEX_VECTOR'
  | 'INDEX_METADATA'
  | 'INDEX_PATCHES'
  | 'INDEX_DUPLICATE_ID'
  | 'INDEX_UNKNOWN_ID'
  | 'INDEX_MODEL'
  | 'INDEX_HEADER'
  | 'INDEX_NEWER'
  | 'INDEX_FILE'
  | 'INDEX_NAME'
  | 'INDEX_STORAGE'
  | 'INDEX_QUOTA'
  | 'INDEX_DAMAGED'
  | 'INDEX_GONE'
  | 'INDEX_BLOCKED'
  | 'INDEX_DISPOSED';

/** A call of the search index failed. */
export class IndexError extends DINOv2Error {
  override readonly name = 'IndexError';
  declare readonly code: IndexCode;
  /** For `INDEX_DAMAGED`: the ids of the lost items, as far as they are known. Otherwise empty. */
  readonly items: readonly string[];
  /** For `INDEX_QUOTA`: the number of bytes that were to be written. */
  readonly need: number | undefined;
  /** For `INDEX_QUOTA`: the number of free bytes, as estimated by the browser. */
  readonly have: number | undefined;
  constructor(
    code: IndexCode,
    message: string,
    {
      items = [],
      need,
      have,
      ...options
    }: ErrorOptions & {
      readonly items?: readonly string[];
      readonly need?: number;
      readonly have?: number | undefined;
    } = {},
  ) {
    super(code, message, options);
    this.items = items;
    this.need = need;
    this.have = have;
  }
}
