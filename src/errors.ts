/**
 * Every error class and every code. The texts stand where an error is thrown, beside the numbers that they
 * print; their form is `<where>: expected …, found …. <what to do next>.`
 */

/**
 * What all errors of this library have in common: a `code` that programs can test, and a message that people
 * can act on.
 */
export class DINOv2Error extends Error {
  /** Of the class, as it is written here: minifiers change the class's own. */
  override readonly name: string = 'DINOv2Error';
  /** Stable, upper-case: test this, never the message. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** How a safetensors file can break the format. */
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

export type SourceCode =
  | 'SOURCE_FETCH' // the network failed, or the server answered with an error status
  | 'SOURCE_IS_HTML' // a page came where a file was expected
  | 'SOURCE_TRUNCATED' // fewer bytes than announced
  | 'SOURCE_TOO_LONG' // more bytes than announced
  | 'SOURCE_CHANGED' // the file became another one while it was read
  | 'SOURCE_INTEGRITY' // the SHA-256 is not the one that was asked for
  | 'SOURCE_INDEX' // the index of a checkpoint in several files, and those files, do not fit together
  | 'SOURCE_URL' // not a URL that may be fetched
  | 'SOURCE_READ'; // a File, Blob or stream failed while it was read

/** The bytes did not arrive. */
export class SourceError extends DINOv2Error {
  override readonly name = 'SourceError';
  declare readonly code: SourceCode;
  /** Of HTTP, where a server answered with an error. */
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

export type CheckpointCode =
  | 'CHECKPOINT_TENSORS' // tensors are missing, surplus or misshapen: the message lists all of them
  | 'CHECKPOINT_DTYPE' // a tensor's element type cannot be loaded
  | 'CHECKPOINT_NAMING' // both dialects of names in one file, or neither
  | 'CHECKPOINT_NOT_FINITE' // a weight is NaN or infinite
  | 'CHECKPOINT_RANGE'; // a weight is too large for the element type that was asked for

/** A valid safetensors file, but not this model. */
export class CheckpointError extends DINOv2Error {
  override readonly name = 'CheckpointError';
  declare readonly code: CheckpointCode;
  constructor(code: CheckpointCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

export type ConfigCode =
  | 'CONFIG_JSON' // not JSON
  | 'CONFIG_FIELD' // a field is absent, of the wrong type or out of range
  | 'CONFIG_UNSUPPORTED'; // a model of another family, or a setting that no DINOv2 has

/** config.json does not describe a DINOv2. */
export class ConfigError extends DINOv2Error {
  override readonly name = 'ConfigError';
  declare readonly code: ConfigCode;
  constructor(code: ConfigCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

export type ImageCode =
  | 'IMAGE_DECODE' // the bytes are not an image that can be decoded here
  | 'IMAGE_TYPE' // not something that can be drawn
  | 'IMAGE_FETCH' // the URL gave no image
  | 'IMAGE_SIZE' // empty, or too large for memory
  | 'INPUT_SHAPE' // the pixels do not have the stated shape, or the images of a batch differ in size
  | 'INPUT_NOT_FINITE'; // pixels hold NaN or infinity

/** The image cannot be used. */
export class ImageError extends DINOv2Error {
  override readonly name = 'ImageError';
  declare readonly code: ImageCode;
  constructor(code: ImageCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

export type OptionCode =
  | 'OPTION_VALUE' // an option, or another argument, has a value that the call cannot use
  | 'OPTION_NAME'; // no call of the library has an option of this name

/** A call was given an option or argument that it cannot use. */
export class OptionError extends DINOv2Error {
  override readonly name = 'OptionError';
  declare readonly code: OptionCode;
  constructor(code: OptionCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

export type DeviceCode =
  | 'WEBGPU_MISSING' // no navigator.gpu here
  | 'WEBGPU_INSECURE' // the page is not a secure context
  | 'ADAPTER_MISSING' // WebGPU is there, but no adapter
  | 'DEVICE_FAILED' // requestDevice was refused
  | 'DEVICE_LOST' // the device is gone
  | 'DEVICE_LIMIT' // something is larger than the device allows
  | 'DEVICE_MEMORY' // an allocation failed
  | 'KERNEL_COMPILE' // a shader or a pipeline was refused
  | 'KERNEL_WRONG' // a kernel computes wrong values on this adapter
  | 'DISPOSED' // used after dispose()
  | 'WORKER_LOST' // the worker with the models did not start, or is gone
  | 'WORKER_OPTION'; // an option that cannot be sent to a worker

/** The GPU cannot do it. */
export class DeviceError extends DINOv2Error {
  override readonly name = 'DeviceError';
  declare readonly code: DeviceCode;
  constructor(code: DeviceCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

/** What a call of a model gives after `dispose()`. */
export const modelDisposed = (): DeviceError =>
  new DeviceError('DISPOSED', 'This model was disposed of. Load it again.');

export type IndexCode =
  | 'INDEX_OPTIONS' // an option is out of range, or options do not fit together
  | 'INDEX_ID' // not an id
  | 'INDEX_VECTOR' // a vector of another length, of length zero, not finite, or too large for its storage
  | 'INDEX_METADATA' // not a JSON value
  | 'INDEX_PATCHES' // patches do not fit the index, or the index keeps none
  | 'INDEX_DUPLICATE_ID' // the id is there already
  | 'INDEX_UNKNOWN_ID' // no item has this id
  | 'INDEX_MODEL' // made by another model, or with other preprocessing
  | 'INDEX_HEADER' // another dim, metric or storage
  | 'INDEX_NEWER' // written by a newer version of the library
  | 'INDEX_FILE' // a file that is not an index, or a broken one
  | 'INDEX_NAME' // not a name under which an index can be kept
  | 'INDEX_STORAGE' // nothing can be kept here, or the storage failed
  | 'INDEX_QUOTA' // the storage is full; nothing of the change was made
  | 'INDEX_DAMAGED' // what is kept is not what was written: `items` says of which
  | 'INDEX_GONE' // deleted or evicted while it was open
  | 'INDEX_BLOCKED' // another page holds the index and does not let go
  | 'INDEX_DISPOSED'; // used after dispose()

/** An index of embeddings cannot take, give or open what was asked. */
export class IndexError extends DINOv2Error {
  override readonly name = 'IndexError';
  declare readonly code: IndexCode;
  /** Of INDEX_DAMAGED: ids of the items that are lost, as far as they can be told. */
  readonly items: readonly string[];
  /**
   * Of INDEX_QUOTA: bytes that were to be written, and bytes that the browser says are left (a guess of its).
   */
  readonly need: number | undefined;
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
