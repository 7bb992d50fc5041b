/** Readers of bytes in memory, Blobs and streams. */
import { SourceError } from '../errors.js';
import { causeText, type Reader } from './chunks.js';

export function memoryReader(bytes: Uint8Array): Reader {
  let rest: Uint8Array | undefined = bytes;
  return {
    async read() {
      const next = rest;
      rest = undefined;
      return next;
    },
    async cancel() {
      rest = undefined;
    },
  };
}

/**
 * Reads a Blob through its stream. In Chromium this is 3 to 5 times as fast as reading slices of 4 MiB (for
 * 256 MiB in memory: 250 ms instead of 640 to 1240 ms).
 */
export function blobReader(blob: Blob, name: string): Reader {
  return streamReader(
    blob.stream(),
    name,
    (cause, receivedBytes) =>
      new SourceError(
        'SOURCE_READ',
        `${name}: reading failed after ${receivedBytes} of ${blob.size} bytes (${causeText(cause)}). If the file was moved or changed, choose it again.`,
        { cause },
      ),
  );
}

export function streamReader(
  stream: ReadableStream<Uint8Array>,
  name: string,
  failed: (cause: unknown, receivedBytes: number) => SourceError = (cause, receivedBytes) =>
    new SourceError(
      'SOURCE_READ',
      `${name}: the stream failed after ${receivedBytes} bytes (${causeText(cause)}). Open a new stream.`,
      {
        cause,
      },
    ),
): Reader {
  const reader = stream.getReader();
  let receivedBytes = 0;
  let ended = false;
  return {
    async read() {
      if (ended) {
        return undefined; // a read after the lock is released would throw
      }
      let next: ReadableStreamReadResult<unknown>;
      try {
        next = await reader.read();
      } catch (cause) {
        throw failed(cause, receivedBytes);
      }
      if (next.done) {
        ended = true;
        reader.releaseLock();
        return undefined;
      }
      if (!(next.value instanceof Uint8Array)) {
        throw new SourceError(
          'SOURCE_READ',
          `${name}: expected chunks that are Uint8Arrays, found ${describe(next.value)}. Pass a stream of bytes.`,
        );
      }
      receivedBytes += next.value.length;
      return next.value;
    },
    async cancel(reason) {
      const done = reader.cancel(reason);
      reader.releaseLock();
      await done;
    },
  };
}

export function describe(value: unknown): string {
  return value === null || typeof value !== 'object'
    ? value === null
      ? 'null'
      : `a ${typeof value}`
    : `a ${value.constructor?.name ?? 'object'}`;
}
