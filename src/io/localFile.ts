/** Opens files by path in Node. Modules of Node are loaded only when a path is opened. */
import { SourceError } from '../errors.js';
import { nodeModule } from '../platform/node.js';
import { causeText, type Reader } from './chunks.js';

/** The part of `node:fs/promises` that this file uses. */
interface FileSystem {
  open(path: string | URL): Promise<FileHandle>;
}

interface FileHandle {
  stat(): Promise<{ readonly size: number; readonly mtimeMs: number; isFile(): boolean }>;
  read(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number }>;
  close(): Promise<void>;
}

/** Bytes that one read requests. */
const READ_BYTES = 2 ** 20;

/**
 * Opens a file by its path in Node.
 * @throws SourceError SOURCE_READ
 */
export async function openPath(path: string | URL): Promise<{ reader: Reader; totalBytes: number }> {
  const { open } = nodeModule('node:fs/promises') as FileSystem;
  let file: FileHandle | undefined;
  const failed = (cause: unknown, found = causeText(cause)): SourceError =>
    new SourceError('SOURCE_READ', `${String(path)}: the file cannot be read: ${found}. Check the path.`, {
      cause,
    });
  try {
    file = await open(path);
    const stat = await file.stat();
    if (!stat.isFile()) throw failed(undefined, 'the path leads to a folder or device');
    return { reader: fileReader(file, stat.mtimeMs, failed), totalBytes: stat.size };
  } catch (cause) {
    await file?.close();
    throw cause instanceof SourceError ? cause : failed(cause);
  }
}

/**
 * Reads a file. At the end, checks by the modification time that the file was not written meanwhile, which
 * its length alone would not show. Two buffers alternate: one is filled while the caller uses the other.
 * New buffers for each read would double the time, because the system must clear and map their memory.
 */
function fileReader(
  handle: FileHandle,
  mtimeMs: number,
  failed: (cause: unknown, found?: string) => SourceError,
): Reader {
  let position = 0;
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= handle.close());
  const fill = async (buffer: Uint8Array): Promise<Uint8Array> => {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
    position += bytesRead;
    return buffer.subarray(0, bytesRead);
  };
  let [used, spare] = [new Uint8Array(READ_BYTES), new Uint8Array(READ_BYTES)];
  let ahead: Promise<Uint8Array> | undefined;
  return {
    async read() {
      if (closing) return undefined;
      try {
        const bytes = await (ahead ?? fill(spare));
        if (closing) return undefined;
        if (bytes.length > 0) {
          [used, spare] = [spare, used];
          ahead = fill(spare);
          ahead.catch(() => undefined); // the read that awaits the promise reports the error
          return bytes;
        }
        if ((await handle.stat()).mtimeMs !== mtimeMs)
          throw failed(undefined, 'it was written while it was read');
      } catch (cause) {
        throw cause instanceof SourceError ? cause : failed(cause);
      }
      await close();
      return undefined;
    },
    cancel: close,
  };
}
