/**
 * A weights file of a cache entry. It is read from its cached blocks, and from the network where a block is
 * missing.
 */
import { SourceError } from '../errors.js';
import { Chunks, type ByteStream } from '../io/chunks.js';
import { startOver } from '../io/part.js';
import { checkDigest, startSha256 } from '../io/integrity.js';
import type { Sha256 } from '../io/sha256.js';
import { openSource, type OwnSource, type SourceOptions } from '../io/sources.js';
import type { CacheFolder } from '../storage/store.js';
import { BLOCK_BYTES, blockName, readChecked, type Bytes, type CachedFile, type Manifest } from './format.js';

/**
 * Initial size of the block buffer. The buffer grows on demand, because a checkpoint of many shards opens
 * all files before it reads them.
 */
const FIRST_BYTES = 2 ** 19;
/** Number of blocks that are read and checked ahead, while the current block is used. */
const BLOCKS_AHEAD = 2;

/** The cache entry to which a `CacheSource` belongs. `CacheEntry` implements this interface. */
export interface SourceEntry {
  /**
   * The manifest that an earlier load has stored. Undefined if no earlier load has begun this cache entry.
   */
  readonly kept: Manifest | undefined;
  readonly nonce: string;
  readonly counts: { fetchedBytes: number; cachedBytes: number };
  /**
   * The reason why the cache entry is not written any more: a text, or the error that was thrown. Undefined
   * while writing works.
   */
  failure: unknown;
  /** The cache entry's folder; undefined if the folder does not exist yet. */
  readonly folder: CacheFolder | undefined;
  /** Returns the names of the cache entry's files. A listed file may be empty or damaged. */
  names(): Promise<Set<string>>;
  /** Tells the cache entry that one of its weights files was opened. */
  opened(source: CacheSource): void;
  /** Creates the error for a file that the source did not have when the model was cached. */
  absent(name: string): SourceError;
  /** Writes a block. Never rejects: an error is stored in `failure`. */
  write(name: string, position: unknown, bytes: Bytes): Promise<void>;
}

export class CacheSource implements OwnSource {
  readonly name: string;
  /** The size of the file; undefined until it is known. */
  fileBytes: number | undefined;
  validator: string | undefined;
  readonly #entry: SourceEntry;
  readonly #url: string;
  readonly #sha256: string | undefined;
  readonly #kept: CachedFile | undefined;
  /**
   * The block that is being filled from the network; `#filled` is the number of its bytes so far, `#block`
   * its index.
   */
  #buffer = new Uint8Array(0);
  #filled = 0;
  #block = 0;

  /**
   * Creates the source of a weights file.
   * @param sha256 the expected hash of the whole file. The last block is written only if the hash matches,
   *   so a stored last block means that the file was checked
   */
  constructor(entry: SourceEntry, name: string, url: string, sha256: string | undefined) {
    this.#entry = entry;
    this.name = name;
    this.#url = url;
    this.#sha256 = sha256;
    this.#kept = entry.kept?.files.find((file) => file.name === name);
    this.fileBytes = this.#kept?.fileBytes;
    this.validator = this.#kept?.validator;
  }

  /** Whether a later load can resume the download of the file. */
  get resumable(): boolean {
    return this.fileBytes !== undefined && (this.validator ?? this.#sha256) !== undefined;
  }

  async open(options: SourceOptions): Promise<ByteStream> {
    const entry = this.#entry;
    const kept = this.#kept;
    if (entry.kept && !kept) throw entry.absent(this.name);
    let network: ByteStream | undefined;
    let stopped: { readonly reason: unknown } | undefined;
    const ask = async (from: number, to: number | undefined): Promise<ByteStream> => {
      network = await openSource(this.#url, {
        ...options,
        reload: true, // the cache entry stores the bytes, so the HTTP cache need not
        pinned: this.#sha256 !== undefined,
        ...(kept && { from, to, known: kept }),
      });
      if (stopped) await network.cancel(stopped.reason);
      return network;
    };
    if (!kept) {
      const { totalBytes, validator } = await ask(0, undefined);
      this.fileBytes = totalBytes;
      this.validator = validator;
    }
    const bytes = this.#read(await entry.names(), kept ? ask : async () => network!);
    entry.opened(this);
    const reader = {
      read: async () => (await bytes.next()).value ?? undefined,
      cancel: async (reason: unknown) => {
        stopped = { reason };
        await network?.cancel(reason);
      },
    };
    return new Chunks(
      network?.name ?? this.#url,
      this.fileBytes,
      reader,
      options.signal,
      () => this.validator,
    );
  }

  /**
   * Reads the file block by block: stored blocks from the cache, all others from the network.
   * @param there names of the blocks that the cache entry lists; a listed block may be damaged
   */
  async *#read(
    there: Set<string>,
    ask: (from: number, to: number | undefined) => Promise<ByteStream>,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { counts } = this.#entry;
    const blocks = this.#kept ? Math.ceil(this.#kept.fileBytes / BLOCK_BYTES) : Infinity;
    const has = (block: number): boolean => block < blocks && there.has(blockName(this.name, block));
    const reading = new Map<number, Promise<Uint8Array | undefined>>();
    const whole = this.#kept !== undefined && Array.from({ length: blocks }, (_, k) => k).every(has);
    let hash = this.#sha256 === undefined || whole ? undefined : await startSha256();
    for (let block = 0; block < blocks;) {
      for (let ahead = block; ahead <= block + BLOCKS_AHEAD; ahead++)
        if (has(ahead) && !reading.has(ahead)) reading.set(ahead, this.#readBlock(ahead));
      const bytes = await reading.get(block);
      reading.delete(block);
      if (bytes) {
        hash?.update(bytes);
        counts.cachedBytes += bytes.length;
        yield bytes;
        block += 1;
        continue;
      }
      reading.clear(); // the blocks that were read ahead may include the last block, which is removed next
      if (this.#sha256 !== undefined && this.#kept) {
        there.delete(await this.#unmark(blocks));
        hash ??= await this.#hashUpTo(block);
      }
      let end = this.#kept ? block + 1 : blocks;
      while (end < blocks && !has(end)) end += 1;
      this.#block = block;
      const stream = await ask(block * BLOCK_BYTES, end < blocks ? end * BLOCK_BYTES : undefined);
      for await (const chunk of stream.chunks) {
        hash?.update(chunk);
        counts.fetchedBytes += chunk.length;
        await this.#add(chunk);
        yield chunk;
      }
      if (end >= blocks) {
        checkDigest(stream.name, this.#sha256, hash?.digest());
        this.fileBytes ??= this.#block * BLOCK_BYTES + this.#filled;
      }
      await this.#flush();
      block = end;
    }
  }

  #position(block: number): unknown {
    return [this.#entry.nonce, this.name, this.validator, block];
  }

  #readBlock(block: number): Promise<Uint8Array | undefined> {
    return readChecked(this.#entry.folder, blockName(this.name, block), this.#position(block));
  }

  /**
   * Removes the file's last block, whose presence means that the file was checked against its hash. Returns
   * the block's name.
   */
  async #unmark(blocks: number): Promise<string> {
    const name = blockName(this.name, blocks - 1);
    await this.#entry.folder!.remove(name).catch((error: unknown) => void (this.#entry.failure ??= error));
    return name;
  }

  async #hashUpTo(end: number): Promise<Sha256> {
    const hash = await startSha256();
    for (let block = 0; block < end; block++) {
      const bytes = await this.#readBlock(block);
      if (!bytes)
        throw startOver(
          new SourceError(
            'SOURCE_CHANGED',
            `${this.name}: the cached copy changed while it was read. Load the model again.`,
          ),
        );
      hash.update(bytes);
    }
    return hash;
  }

  /**
   * Copies bytes from the network into the buffer. A full block is written before more bytes are read, so a
   * crash loses at most one block.
   */
  async #add(bytes: Uint8Array): Promise<void> {
    if (this.#entry.failure !== undefined) return;
    for (let at = 0; at < bytes.length;) {
      if (this.#filled === BLOCK_BYTES) await this.#flush();
      const part = bytes.subarray(at, at + BLOCK_BYTES - this.#filled);
      this.#reserve(this.#filled + part.length);
      this.#buffer.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
    }
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#buffer.length) return;
    const larger = new Uint8Array(
      Math.min(BLOCK_BYTES, Math.max(bytes, 2 * this.#buffer.length, FIRST_BYTES)),
    );
    larger.set(this.#buffer.subarray(0, this.#filled));
    this.#buffer = larger;
  }

  async #flush(): Promise<void> {
    if (this.#filled === 0) return;
    const [block, bytes] = [this.#block, this.#buffer.subarray(0, this.#filled)];
    this.#filled = 0;
    this.#block += 1;
    await this.#entry.write(blockName(this.name, block), this.#position(block), bytes);
  }
}
