/** The sources of bytes that `openSource` accepts, and its options. */
import type { ByteStream } from './chunks.js';
import type { RetryOptions } from './retry.js';

/**
 * A source of bytes. Strings are URLs (http, https or blob); relative URLs are resolved against the page. In
 * Node, other strings and `file:` URLs are local files.
 */
export type ByteSource =
  string | URL | Blob | FileSystemFileHandle | Uint8Array | ArrayBuffer | ReadableStream<Uint8Array>;

/** A source that opens itself, such as a file in the weight cache. */
export interface OwnSource {
  open(options: SourceOptions): Promise<ByteStream>;
}

export interface SourceOptions {
  /**
   * A signal whose abort stops reading at any time: pending promises reject with `signal.reason`, and the
   * connection or stream is released.
   */
  readonly signal?: AbortSignal | undefined;
  /** Replaces the global `fetch`, for example to add an Authorization header. */
  readonly fetch?: typeof fetch | undefined;
  readonly retry?: RetryOptions | undefined;
  /** Whether the caller checks the bytes against a hash. */
  readonly pinned?: boolean | undefined;
  /** Whether to bypass the browser's HTTP cache. */
  readonly reload?: boolean | undefined;
  /** Position of the first byte to read. Only for URLs, together with `known`. Default: 0. */
  readonly from?: number | undefined;
  /** Position behind the last byte to read. Default: the end of the file. */
  readonly to?: number | undefined;
  /**
   * The version of the file whose bytes before `from` are present. If the server has a different version,
   * reading fails with SOURCE_CHANGED.
   */
  readonly known?: { readonly validator: string | undefined; readonly fileBytes: number } | undefined;
  /** Whether to read the file in one answer instead of in parts. For small files. */
  readonly whole?: boolean | undefined;
}
