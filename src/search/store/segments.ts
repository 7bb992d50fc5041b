/** Segments: files of records, written once. */
import type { CacheFolder } from '../../storage/store.js';
import { encodeContents, hasContents, type Contents } from './contents.js';
import { isQuota, isVanished, quotaError, storageError } from './errors.js';
import type { ItemRow, SegmentRow, Unsealed } from './rows.js';

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * A commit that has more is written as several files, each of which fits into memory easily when it is read.
 */
export const SEGMENT_BYTES: number = 2 ** 24;
/**
 * Of segments that were read and may be needed again: items stand in the order of their sequence, which after
 * a compaction is not that of the files.
 */
const KEPT_BYTES = 2 ** 26;

/** A file that is to be written. */
export interface NewSegment {
  readonly name: string;
  readonly parts: Bytes[];
  bytes: number;
  size: number;
  items: number;
  removals: number;
  /** Sequences of the first item and the last. */
  readonly first: number;
  last: number;
}

/** Of a file's name: a sequence that no commit had when it was made. */
export const sequenceOfName = (name: string): number => Number.parseInt(name, 10);

/** What was seen of the end of a file. */
export interface SegmentEnd {
  readonly size: number;
  /** Whether what it says of its contents is what was written. */
  readonly whole: boolean;
}

export const segmentRow = ({
  name,
  bytes,
  size,
  items,
  removals,
  first,
  last,
}: NewSegment): Unsealed<SegmentRow> => ({
  name,
  bytes,
  size,
  items,
  liveBytes: bytes,
  removals,
  first,
  last,
});

/** Says where records go, one behind the other. */
export class Packer {
  readonly segments: NewSegment[] = [];
  readonly #after: number;

  /**
   * @param after the sequence of the last commit: names tell it, so that a file that was never written is
   *   known from one that was emptied
   */
  constructor(after: number) {
    this.#after = after;
  }

  /** @param sequence of the item; larger than that of the one before */
  add(sequence: number, parts: readonly Bytes[]): { readonly segment: string; readonly offset: number } {
    const bytes = parts.reduce((sum, { length }) => sum + length, 0);
    let segment = this.segments.at(-1);
    if (!segment || segment.bytes + bytes > SEGMENT_BYTES) segment = this.#begin(sequence);
    const offset = segment.bytes;
    segment.parts.push(...parts);
    segment.bytes += bytes;
    segment.items += 1;
    segment.last = sequence;
    return { segment: segment.name, offset };
  }

  /** Says at the end of each segment what is in it. Nothing can be added afterwards. @returns bytes of all */
  finish(contents: Omit<Contents, 'parts'>): number {
    const { items, removals } = contents;
    if (this.segments.length === 0 && removals.length > 0) this.#begin(removals[0]!.sequence);
    const own = new Map<string, ItemRow[]>(this.segments.map(({ name }) => [name, []]));
    for (const row of items) own.get(row.segment)!.push(row);
    for (const segment of this.segments) {
      const told = segment === this.segments.at(-1) ? removals : [];
      const end = encodeContents({
        ...contents,
        parts: this.segments.length,
        items: own.get(segment.name)!,
        removals: told,
      });
      segment.parts.push(end);
      segment.size = segment.bytes + end.length;
      segment.removals = told.length;
    }
    return this.segments.reduce((sum, { size }) => sum + size, 0);
  }

  #begin(sequence: number): NewSegment {
    const segment: NewSegment = {
      name: newName(this.#after + 1),
      parts: [],
      bytes: 0,
      size: 0,
      items: 0,
      removals: 0,
      first: sequence,
      last: sequence,
    };
    this.segments.push(segment);
    return segment;
  }
}

/** Never a name that was there before, whatever a crash has left. */
const newName = (sequence: number): string =>
  `${String(sequence).padStart(10, '0')}-${crypto.randomUUID().slice(0, 8)}`;

export class SegmentFiles {
  readonly #name: string;
  readonly #folder: CacheFolder;
  /** The longest unused first. */
  readonly #read = new Map<string, Bytes>();
  #readBytes = 0;
  readonly #ends = new Map<string, SegmentEnd>();

  constructor(name: string, folder: CacheFolder) {
    this.#name = name;
    this.#folder = folder;
  }

  /** The whole file; undefined if it is not there. */
  async read(name: string): Promise<Bytes | undefined> {
    let bytes = this.#read.get(name);
    if (bytes) this.#read.delete(name);
    else {
      bytes = await this.#fetch(name);
      if (!bytes) return undefined;
      this.#readBytes += bytes.length;
      this.#ends.set(name, { size: bytes.length, whole: hasContents(bytes) });
    }
    this.#read.set(name, bytes);
    for (const [oldest, { length }] of this.#read) {
      if (this.#readBytes <= KEPT_BYTES || oldest === name) break;
      this.#read.delete(oldest);
      this.#readBytes -= length;
    }
    return bytes;
  }

  /** Of a file that was read. */
  endOf(name: string): SegmentEnd | undefined {
    return this.#ends.get(name);
  }

  /** Forgets what was read. */
  forget(): void {
    this.#ends.clear();
    this.#read.clear();
    this.#readBytes = 0;
  }

  /** All of them, or none. @param need bytes of the whole commit */
  async write(segments: readonly NewSegment[], need: number): Promise<void> {
    try {
      for (const { name, parts } of segments) await this.#folder.write(name, new Blob(parts));
    } catch (error) {
      await this.remove(segments.map(({ name }) => name));
      throw isQuota(error)
        ? await quotaError(this.#name, need, error)
        : storageError(this.#name, `a file could not be written (${String(error)})`, error);
    }
  }

  /** What cannot be removed now is nobody's, and goes when the index is opened the next time. */
  async remove(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const bytes = this.#read.get(name);
      if (bytes) this.#readBytes -= bytes.length;
      this.#read.delete(name);
      await this.#folder.remove(name).catch(() => undefined);
    }
  }

  /** Of all files, swap files left out. */
  async names(): Promise<string[]> {
    return (await this.#folder.names()).filter((name) => !name.endsWith('.crswap')).sort();
  }

  /** Removes what no commit knows: segments of one that was interrupted, and swap files. */
  async tidy(known: ReadonlySet<string>): Promise<void> {
    await this.remove((await this.#folder.names()).filter((name) => !known.has(name)));
  }

  /** See CacheFolder. */
  async leaveTornBlock(): Promise<void> {
    await this.#folder.leaveTornBlock?.();
  }

  async #fetch(name: string): Promise<Bytes | undefined> {
    try {
      const file = await this.#folder.read(name);
      return file && new Uint8Array(await file.arrayBuffer());
    } catch (error) {
      if (isVanished(error)) return undefined; // another tab has removed it while it was read
      throw storageError(this.#name, `a file could not be read (${String(error)})`, error);
    }
  }
}
