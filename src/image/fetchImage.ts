/** Reads an image file by its URL or, in Node, by its path. */
import { ImageError } from '../errors.js';
import { shortName } from '../io/url.js';
import { baseUrl } from '../platform/baseUrl.js';
import { host } from '../platform/host.js';
import { hasPaths, nodeModule } from '../platform/node.js';

/**
 * Most bytes of an image that are downloaded: more than any image takes that Pillow reads, except some
 * without compression. Without a limit, a server could fill the memory.
 */
const MOST_BYTES = 2 ** 30;

/** An image file, and its name for error messages. */
export interface ImageFile {
  readonly blob: Blob;
  readonly name: string;
}

/**
 * Reads an image file by its URL or, in Node, by its path.
 *
 * @throws ImageError IMAGE_FETCH, if the file cannot be read; IMAGE_SIZE, if it has more than 1 GiB
 * @throws `signal.reason` after an abort
 */
export async function fetchImage(url: string, signal: AbortSignal | undefined): Promise<ImageFile> {
  if (hasPaths() && !/^(https?|data|blob):/i.test(url))
    return { blob: await readPath(url, signal), name: url };
  const name = shortName(url);
  const refuse = (message: string, options?: ErrorOptions): never => {
    throw new ImageError('IMAGE_FETCH', `${name}: ${message}`, options);
  };
  if (!URL.canParse(url, baseUrl())) return refuse('this is no valid URL. Check the address.');
  const { protocol, username, password } = new URL(url, baseUrl());
  if (username !== '' || password !== '')
    return refuse(
      'the URL has a user name or password, which fetch refuses. Fetch the image, and pass a Blob.',
    );
  try {
    const response = await (host.fetch ?? fetch)(url, { signal: signal ?? null });
    const { body, ok, status } = response;
    const insecure = protocol === 'https:' && response.url.startsWith('http:');
    if (ok && !insecure) return { blob: await blobOf(response, name), name };
    await body?.cancel();
    return refuse(
      insecure
        ? 'the server redirected from https to http. Use an address that is not redirected to http.'
        : `the request failed with HTTP status ${status}. Check the URL.`,
    );
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof ImageError) throw cause;
    const more = hasPaths()
      ? ''
      : ' A server of another origin must allow this page to read the image (CORS).';
    return refuse(`the request failed (${String(cause)}). Check the URL and the network.${more}`, { cause });
  }
}

/** Reads the body of an answer, up to MOST_BYTES. @throws ImageError IMAGE_SIZE */
async function blobOf(response: Response, name: string): Promise<Blob> {
  const reader = response.body?.getReader();
  if (!reader) return response.blob();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let length = Number(response.headers.get('content-length') ?? 0) > MOST_BYTES ? Infinity : 0;
  for (;;) {
    if (length > MOST_BYTES) {
      const error = new ImageError(
        'IMAGE_SIZE',
        `${name}: expected an image file of at most ${MOST_BYTES} bytes, found more. Make the image smaller first.`,
      );
      reader.cancel(error).catch(() => undefined); // a second error must not hide the first
      throw error;
    }
    const { value, done } = await reader.read();
    if (done) return new Blob(parts, { type: response.headers.get('content-type') ?? '' });
    length += value.length;
    parts.push(value);
  }
}

/**
 * Reads a local file in Node, by path or `file:` URL.
 *
 * @throws ImageError IMAGE_FETCH, if the file cannot be read
 */
async function readPath(path: string, signal: AbortSignal | undefined): Promise<Blob> {
  const { readFile } = nodeModule('node:fs/promises') as {
    readFile(path: string | URL, options: { signal?: AbortSignal }): Promise<Uint8Array<ArrayBuffer>>;
  };
  try {
    return new Blob([
      await readFile(/^file:/i.test(path) ? new URL(path) : path, signal === undefined ? {} : { signal }),
    ]);
  } catch (cause) {
    signal?.throwIfAborted();
    const { code } = cause as { readonly code?: unknown };
    const found =
      code === 'ENOENT' ? 'there is no such file' : code === 'EISDIR' ? 'it is a folder' : String(cause);
    throw new ImageError(
      'IMAGE_FETCH',
      `${path}: the file cannot be read: ${found}. Check the path. A relative path starts at the program's working directory.`,
      { cause },
    );
  }
}
