/**
 * Functions that replace what browsers have and Node lacks. `dinov2-webgpu/node` sets them, because the
 * library changes no global. In a browser they are undefined.
 */

/** The options of `fromPretrained` that a host may replace. */
export interface HubRequest {
  readonly revision?: string | undefined;
  readonly baseUrl?: string | URL | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
  readonly cache?: 'auto' | 'opfs' | 'cache-api' | 'none' | undefined;
  readonly revalidate?: boolean | undefined;
}

/** The part of a load's report that a host may replace. */
export interface LoadedBytes {
  readonly fetchedBytes: number;
  readonly cachedBytes: number;
  readonly cacheReason: string;
}

/** See `host`. Every function is optional: without it, the browser's API is used. */
export interface Host {
  /** Requests a GPU adapter; replaces `navigator.gpu`. */
  adapter?: () => Promise<GPUAdapter>;
  /**
   * Decodes a JPEG, WebP, AVIF or TIFF; replaces `createImageBitmap`.
   * @returns RGBA in rows from the top; alpha is unused. Undefined for a file of another format
   */
  decode?: (
    bytes: Uint8Array<ArrayBuffer>,
    name: string,
  ) => Promise<
    { readonly data: Uint8Array<ArrayBuffer>; readonly width: number; readonly height: number } | undefined
  >;
  /** Replaces the global `fetch` where the caller passes none. */
  fetch?: typeof globalThis.fetch;
  /** Opens the store of the weight cache; replaces the browser's storage. Returns a `CacheStore`. */
  openStore?: () => unknown;
  /** Runs a task while no other process holds the lock; replaces Web Locks. */
  lock?: <T>(name: string, signal: AbortSignal | undefined, task: () => Promise<T>) => Promise<T>;
  /** Opens the storage of an index in a folder. Returns a `Journal`. */
  openFolder?: (
    folder: string | URL,
    header: never,
    options: { readonly signal?: AbortSignal | undefined; readonly repair?: 'drop' | undefined },
  ) => Promise<unknown>;
  /** Returns handles of the file or folder at a path, or of the files that a pattern matches. */
  handlesAt?: (path: string | URL) => Promise<readonly FileSystemHandle[]>;
  /**
   * Loads a checkpoint by its id, with other options than the caller's. `load` loads it as a browser would.
   */
  pretrained?: <Options extends HubRequest, Model extends { readonly report: LoadedBytes }>(
    id: string | URL,
    options: Options,
    load: (id: string | URL, options: Options) => Promise<Model>,
  ) => Promise<Model>;
}

/** The functions of this process. `dinov2-webgpu/node` sets them when it is imported. */
export const host: Host = {};
