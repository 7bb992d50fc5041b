/**
 * A checkpoint as it arrives: the header first, then each tensor piece by piece, in the order of the file. So
 * a checkpoint of a gigabyte needs two chunks of memory, and its first weights are on the GPU while the last
 * are still on their way.
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

/** A part of one tensor. */
export interface TensorPiece {
  readonly name: string;
  readonly info: TensorInfo;
  /** Where the piece begins, in bytes from the tensor's first; a multiple of the element's size. */
  readonly offset: number;
  /**
   * 1 to MAX_CHUNK_BYTES bytes, whole elements only. `bytes.byteOffset` is a multiple of the element's size
   * too, so a typed array can be laid over them. To be read, not written to, and only until the next piece is
   * asked for: then the memory is used again.
   */
  readonly bytes: Uint8Array;
}

/** A file of tensors that is being read. */
export interface TensorStream {
  /** Checked: the tensors fill the file, without hole or overlap. */
  readonly header: SafetensorsHeader;
  /**
   * Every byte of every tensor, once, in the order of the file; can be gone through once. Tensors without
   * bytes have no piece. Leaving the loop early lets the source go. Only a loop that runs to its end has seen
   * a whole file.
   *
   * Rejects with SourceError SOURCE_TRUNCATED if the bytes end inside a tensor, with SafetensorsError
   * TRAILING_BYTES if they go on behind the last, and with all that a ByteStream rejects with.
   */
  readonly pieces: AsyncIterable<TensorPiece>;
  /** Lets the source go. A read that is under way rejects with `reason`. */
  cancel(reason?: unknown): Promise<void>;
}

/** How far the reading is. */
export interface ReadProgress {
  readonly loadedBytes: number;
  /** The size of the file: from its source, or else from its header. Undefined while neither is known. */
  readonly totalBytes: number | undefined;
}

export interface TensorStreamOptions extends SourceOptions {
  /** Called with every chunk; what it throws ends the reading. */
  readonly onProgress?: ((progress: ReadProgress) => void) | undefined;
  /** Reject a longer header, in bytes. Default: 16 MiB. */
  readonly maxHeaderBytes?: number | undefined;
  /**
   * The SHA-256 of the whole file, 64 hexadecimal digits: another one is SOURCE_INTEGRITY, behind the last
   * piece.
   */
  readonly sha256?: string | undefined;
}

/** A shorter run of bytes is gathered with those that follow: a piece costs an upload, whatever its size. */
const MIN_VIEW_BYTES = 2 ** 18;
/** How much is gathered: it waits here, and is lost when the page is. */
const GATHERED_BYTES = 2 ** 20;

/**
 * Opens a safetensors file and reads its header.
 *
 * @param source a URL, File, Blob, bytes or a stream
 * @throws SafetensorsError if the header is wrong, or does not fit the size of the source where that is known
 * @throws SourceError as openSource, and as the stream while the header is read
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

/** The chunks of a source, of which any part may be taken. */
class Input {
  /** What is left of the chunk that was read last. */
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

  /** Once the reading was stopped, what is at hand counts no more; the next chunk then throws the reason. */
  dropIfStopped(): void {
    if (this.cancelled || this.#signal?.aborted === true) {
      this.rest = new Uint8Array(0);
    }
  }

  /** Puts the next chunk into `rest`, in place of what is there. False at the end. */
  async next(): Promise<boolean> {
    this.rest = new Uint8Array(0); // so that only one chunk is held while the next is on its way
    const { done, value } = await this.#chunks.next();
    if (done === true) {
      return false;
    }
    this.rest = value;
    this.loadedBytes += value.length;
    this.#onProgress?.({ loadedBytes: this.loadedBytes, totalBytes: this.totalBytes });
    return true;
  }

  /** At most so many bytes of `rest`: a view. */
  take(most: number): Uint8Array {
    const taken = this.rest.subarray(0, most);
    this.rest = this.rest.subarray(taken.length);
    return taken;
  }

  /**
   * Fills `target` from `from` on, reading as needed. Returns how far it came: less than `target.length` at
   * the end of the source.
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
  // If the source ended inside the header, its size is known by now, and the reader says the rest.
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
        // Most bytes are passed on where they are. They are gathered only if they are few, or lie where no
        // typed array could.
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
        `${stream.name}: expected ${header.fileBytes} bytes, found more: bytes behind the last tensor belong to nothing. The file is damaged or ` +
          'its writer is faulty: download it again, or save it again with the safetensors library.',
      );
    }
    checkDigest(stream.name, sha256, hash?.digest());
  } finally {
    void stream.cancel(); // after an error, or when the loop was left; after the end it does nothing
  }
}

/**
 * @returns `align`: what the address of an element has to be a multiple of; `grain`: what the length of a
 * piece has to be a multiple of. Of types narrower than a byte, a few elements share a few bytes: 2 of F4
 * one, 4 of F6 three.
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
