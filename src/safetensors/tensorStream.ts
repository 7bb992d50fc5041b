/**
 * Reads a checkpoint while it arrives: first the header, then each tensor in pieces, in the order of the
 * file. So even a checkpoint of a gigabyte needs memory for two chunks only, and its first weights are on
 * the GPU before the last weights have arrived.
 */
import { SafetensorsError, SourceError } from '../errors.js';
import {
  dtypeBits,
  inFileOrder,
  type SafetensorsDtype,
  type SafetensorsHeader,
  type TensorInfo,
} from './format.js';
import { plainHeaderLength, readPlainHeader } from './plainHeader.js';
import { checkDigest, startSha256 } from '../io/integrity.js';
import type { Sha256 } from '../io/sha256.js';
import { loadPart } from '../platform/part.js';
import { once, openSource } from '../io/sources.js';
import type { ByteSource, ByteStream, OwnSource, SourceOptions } from '../io/sources.js';

/** A contiguous piece of one tensor. */
export interface TensorPiece {
  readonly name: string;
  readonly info: TensorInfo;
  /** Position in bytes of the piece within its tensor; a multiple of the element's size. */
  readonly offset: number;
  /**
   * 1 to MAX_CHUNK_BYTES bytes, whole elements only. `bytes.byteOffset` is a multiple of the element's size,
   * so a typed array can view the bytes. The bytes are read-only, and valid until the next piece is
   * requested, because their memory is reused.
   */
  readonly bytes: Uint8Array;
}

/** The tensors of a file or checkpoint, which can be read once. */
export interface TensorStream {
  /** The header, already checked: the tensors fill the file without gap or overlap. */
  readonly header: SafetensorsHeader;
  /**
   * All bytes of all tensors in the order of the file, each byte once. The pieces can be iterated once.
   * Tensors without bytes have no piece. Leaving the loop early releases the source. Only a loop that runs
   * to its end has checked the whole file.
   *
   * Rejects with SourceError SOURCE_TRUNCATED if the bytes end inside a tensor, with SafetensorsError
   * TRAILING_BYTES if more bytes follow the last tensor, and with the errors of a ByteStream.
   */
  readonly pieces: AsyncIterable<TensorPiece>;
  /** Releases the source. A pending read rejects with `reason`. */
  cancel(reason?: unknown): Promise<void>;
}

/** Progress of reading a file. */
export interface ReadProgress {
  readonly loadedBytes: number;
  /** The size of the file in bytes, from its source or from its header; undefined while both are unknown. */
  readonly totalBytes: number | undefined;
}

export interface TensorStreamOptions extends SourceOptions {
  /** Called after every chunk. If the function throws, reading ends with that error. */
  readonly onProgress?: ((progress: ReadProgress) => void) | undefined;
  /** Limit for the header's length, in bytes. Default: 16 MiB. */
  readonly maxHeaderBytes?: number | undefined;
  /**
   * The expected SHA-256 of the whole file, 64 hexadecimal digits. If the hash differs, the loop over the
   * pieces ends with SOURCE_INTEGRITY after the last piece.
   */
  readonly sha256?: string | undefined;
}

/**
 * Minimum number of bytes of a piece that is a view of a chunk. Fewer bytes are copied together with the
 * bytes that follow, because each piece costs an upload.
 */
const MIN_VIEW_BYTES = 2 ** 18;
/** Maximum number of bytes that are copied together into one piece. */
const GATHERED_BYTES = 2 ** 20;

/**
 * Opens a safetensors file and reads its header.
 *
 * @param source a URL, File, Blob, bytes or a stream
 * @throws SafetensorsError if the header is invalid, or does not match the size of the source where this
 *   size is known
 * @throws SourceError the errors of `openSource`, and the errors of the stream while the header is read
 * @throws `signal.reason` after an abort
 */
export async function openTensors(
  source: ByteSource | OwnSource,
  options: TensorStreamOptions = {},
): Promise<TensorStream> {
  const { sha256 } = options;
  const stream = await openSource(source, { ...options, pinned: sha256 !== undefined });
  try {
    const input = new Input(stream, options);
    const hash = sha256 === undefined ? undefined : await startSha256();
    const header = await readHeader(input, stream, options.maxHeaderBytes, hash);
    input.totalBytes = header.fileBytes;
    return {
      header,
      pieces: once(() => readPieces(input, header, stream, sha256, hash), stream.name),
      cancel: async (reason) => {
        input.cancelled = true;
        await stream.cancel(reason);
      },
    };
  } catch (error) {
    void stream.cancel(error);
    throw error;
  }
}

/** Reads any number of bytes from the chunks of a source. */
class Input {
  /** The unread rest of the current chunk. */
  rest = new Uint8Array(0) as Uint8Array;
  loadedBytes = 0;
  totalBytes: number | undefined;
  cancelled = false;
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #signal: AbortSignal | undefined;
  readonly #onProgress: ((progress: ReadProgress) => void) | undefined;

  constructor(stream: ByteStream, { signal, onProgress }: TensorStreamOptions) {
    this.totalBytes = stream.totalBytes;
    this.#chunks = stream.chunks[Symbol.asyncIterator]();
    this.#signal = signal;
    this.#onProgress = onProgress;
  }

  /**
   * Drops the rest of the chunk if reading was cancelled or aborted. The next call of `next` then throws
   * the reason.
   */
  dropIfStopped(): void {
    if (this.cancelled || this.#signal?.aborted === true) {
      this.rest = new Uint8Array(0);
    }
  }

  /** Replaces `rest` by the next chunk. Returns false at the end. */
  async next(): Promise<boolean> {
    this.rest = new Uint8Array(0); // so that no chunk is held while the next arrives
    const { done, value } = await this.#chunks.next();
    if (done === true) {
      return false;
    }
    this.rest = value;
    this.loadedBytes += value.length;
    this.#onProgress?.({ loadedBytes: this.loadedBytes, totalBytes: this.totalBytes });
    return true;
  }

  /** Takes at most `most` bytes from `rest`, as a view. */
  take(most: number): Uint8Array {
    const taken = this.rest.subarray(0, most);
    this.rest = this.rest.subarray(taken.length);
    return taken;
  }

  /**
   * Fills `target` from position `from` on. Returns the position behind the last byte that was filled; less
   * than `target.length` only at the end of the source.
   */
  async fill(target: Uint8Array, from: number): Promise<number> {
    let filled = from;
    while (filled < target.length && (this.rest.length > 0 || (await this.next()))) {
      const bytes = this.take(target.length - filled);
      target.set(bytes, filled);
      filled += bytes.length;
    }
    return filled;
  }
}

async function readHeader(
  input: Input,
  stream: ByteStream,
  maxHeaderBytes: number | undefined,
  hash: Sha256 | undefined,
): Promise<SafetensorsHeader> {
  const options = { name: stream.name, fileBytes: stream.totalBytes, maxHeaderBytes };
  const strict = (): Promise<typeof import('./reader.js')> => loadPart(import('./reader.js'));
  const first8 = new Uint8Array(8);
  const found = first8.subarray(0, await input.fill(first8, 0));
  const length = maxHeaderBytes === undefined ? plainHeaderLength(found, stream.totalBytes) : undefined;
  const head = new Uint8Array(8 + (length ?? (await strict()).headerLength(found, options)));
  head.set(first8);
  const filled = await input.fill(head, 8);
  hash?.update(head);
  const plain = filled < head.length ? undefined : readPlainHeader(head, stream.totalBytes);
  if (plain) return plain;
  const { parseSafetensorsHeader } = await strict();
  // If the source ended inside the header, its size is known now, and the strict reader reports the missing
  // bytes.
  return parseSafetensorsHeader(head, filled < head.length ? { ...options, fileBytes: filled } : options);
}

async function* readPieces(
  input: Input,
  header: SafetensorsHeader,
  stream: ByteStream,
  sha256: string | undefined,
  hash: Sha256 | undefined,
): AsyncGenerator<TensorPiece, void, void> {
  try {
    let staging: Uint8Array | undefined;
    for (const [name, info] of inFileOrder(header.tensors)) {
      const length = info.end - info.begin;
      const { align, grain } = elementBytes(info.dtype);
      for (let offset = 0; offset < length;) {
        if (input.rest.length === 0 && !(await input.next())) {
          throw endedEarly(stream.name, header, name, info, offset);
        }
        // Most bytes are passed on as views. Bytes are copied together only if they are few or unaligned.
        const here = wholeElements(Math.min(input.rest.length, length - offset), grain);
        let bytes: Uint8Array;
        if (
          here > 0 &&
          (here === length - offset || here >= MIN_VIEW_BYTES) &&
          input.rest.byteOffset % align === 0
        ) {
          bytes = input.take(here);
        } else {
          staging ??= new Uint8Array(Math.min(GATHERED_BYTES, longestTensor(header)));
          const target = staging.subarray(0, Math.min(length - offset, wholeElements(staging.length, grain)));
          const filled = await input.fill(target, 0);
          if (filled < target.length) {
            throw endedEarly(stream.name, header, name, info, offset + filled);
          }
          bytes = target;
        }
        hash?.update(bytes);
        yield { name, info, offset, bytes };
        offset += bytes.length;
        input.dropIfStopped();
      }
    }
    if (input.rest.length > 0 || (await input.next())) {
      throw new SafetensorsError(
        'TRAILING_BYTES',
        `${stream.name}: expected ${header.fileBytes} bytes, found more: bytes behind the last tensor belong to no tensor. The file is damaged or ` +
          'its writer is faulty: download it again, or save it again with the safetensors library.',
      );
    }
    checkDigest(stream.name, sha256, hash?.digest());
  } finally {
    void stream.cancel(); // after an error or an early exit; no effect after the end
  }
}

/**
 * Computes how pieces of a tensor must be aligned.
 * @returns `align`: the alignment of an element; `grain`: a piece's length is a multiple of this; both in
 *   bytes. Elements narrower than a byte share bytes: two F4 elements share one byte, four F6 elements share
 *   three bytes.
 */
function elementBytes(dtype: SafetensorsDtype): { align: number; grain: number } {
  const bits = dtypeBits(dtype)!;
  return { align: Math.max(1, bits >> 3), grain: bits === 6 ? 3 : Math.max(1, bits >> 3) };
}

function wholeElements(bytes: number, grain: number): number {
  return bytes - (bytes % grain);
}

function longestTensor(header: SafetensorsHeader): number {
  let longest = 0;
  for (const { begin, end } of header.tensors.values()) {
    longest = Math.max(longest, end - begin);
  }
  return longest;
}

function endedEarly(
  where: string,
  header: SafetensorsHeader,
  name: string,
  info: TensorInfo,
  offset: number,
): SourceError {
  const tensor = JSON.stringify(name.slice(0, 100));
  return new SourceError(
    'SOURCE_TRUNCATED',
    `${where}: expected ${header.fileBytes} bytes, found ${info.begin + offset}: the source ended in tensor ${tensor}, after ${offset} of its ` +
      `${info.end - info.begin} bytes. Download it again.`,
  );
}
