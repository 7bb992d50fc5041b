/** Opens sources that need no network: paths, Blobs, file handles, streams and bytes. */
import { OptionError, SourceError } from '../errors.js';
import { Chunks, type ByteStream } from './chunks.js';
import { openPath } from './localFile.js';
import { blobReader, describe, memoryReader, streamReader } from './readers.js';
import type { ByteSource } from './sourceTypes.js';

/**
 * Opens a source. A string or URL is a path of the local file system. See `openSource`.
 * @throws SourceError SOURCE_READ; OptionError OPTION_VALUE if `source` is not a ByteSource
 */
export async function openLocal(source: ByteSource, signal: AbortSignal | undefined): Promise<ByteStream> {
  if (typeof source === 'string' || source instanceof URL) {
    const { reader, totalBytes } = await openPath(
      source instanceof URL || !source.startsWith('file:') ? source : new URL(source),
    );
    return new Chunks(String(source), totalBytes, reader, signal);
  }
  if (isFileHandle(source)) return openLocal(await source.getFile(), signal);
  if (source instanceof Blob) {
    const name =
      'name' in source && typeof source.name === 'string' && source.name !== '' ? source.name : 'Blob';
    return new Chunks(name, source.size, blobReader(source, name), signal);
  }
  if (source instanceof ReadableStream) {
    if (source.locked) {
      throw new SourceError(
        'SOURCE_READ',
        'ReadableStream: the stream is locked by another reader. A stream can be read only once: open a new stream.',
      );
    }
    return new Chunks('ReadableStream', undefined, streamReader(source, 'ReadableStream'), signal);
  }
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
    const bytes =
      source instanceof ArrayBuffer
        ? new Uint8Array(source)
        : new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
    return new Chunks('bytes', bytes.length, memoryReader(bytes), signal);
  }
  throw new OptionError(
    'OPTION_VALUE',
    `source: expected a URL, a Blob or File, a FileSystemFileHandle, a Uint8Array, an ArrayBuffer or a ReadableStream, found ${describe(source)}. Pass several files as an array.`,
  );
}

/**
 * Returns whether an object is a file handle of the File System API. Tests for the method, because the class
 * `FileSystemFileHandle` is missing in Node and differs between frames.
 */
function isFileHandle(source: unknown): source is FileSystemFileHandle {
  const { kind, getFile } = Object(source) as Partial<FileSystemFileHandle>;
  return kind === 'file' && typeof getFile === 'function';
}
