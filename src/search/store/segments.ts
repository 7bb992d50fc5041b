/**
 * Segments: files of records that are written once and never changed. `Packer` decides which records new
 * segments contain; `SegmentFiles` reads, writes and removes segments.
 */
import type { CacheFolder } from '../../storage/store.js';
import { encodeContents, hasContents, type Contents } from './contents.js';
import { isQuota, isVanished, quotaError, storageError } from './errors.js';
import type { ItemRow, SegmentRow, Unsealed } from './rows.js';

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * Maximum size in bytes of the records in a segment. A larger commit is split into several files, so that
 * reading one file needs little memory.
 */
export const SEGMENT_BYTES: number = 2 ** 24;
/**
 * Size in bytes of the cache for segments that were read. Items are read in the order of their sequence
 * numbers. After a compaction, records with successive numbers may be in different files, so a file may be
 * needed several times.
 */
const KEPT_BYTES = 2 ** 26;

/** A segment that is to be written. */
export interface NewSegment {
  readonly name: string;
  /** Contents of the file: records, then the table of contents (`contents.ts`). */
  readonly parts: Bytes[];
  /** Size in bytes of the records. */
  bytes: number;
  /** Size in bytes of the file. */
  size: number;
  /** Number of records in the file. */
  items: number;
  /** Number of item removals that the table of contents records. */
  removals: number;
  /** Sequence number of the first item in the segment. */
  readonly first: number;
  /** Sequence number of the last item in the segment. */
  last: number;
}

/**
 * Returns the sequence number in a segment's name: one more than the last committed sequence number at the
 * time when the segment was made.
 */
export const sequenceOfName = (name: string): number => Number.parseInt(name, 10);

/**
 * The size of a segment, and whether its table of contents was intact, at the time when the file was read.
 */
export interface SegmentEnd {
  /** Size in bytes of the file. */
  readonly size: number;
  /** True if the table of contents is intact. */
  readonly whole: boolean;
}

/** Makes the database row of a new segment. */
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

/**
 * Assigns records to segments in order: a new segment begins when the next record does not fit into the
 * current segment.
 */
export class Packer {
  readonly segments: NewSegment[] = [];
  readonly #after: number;

  /**
   * @param after sequence number of the last commit. The names of the new segments contain the next number.
   *   From this number, a rebuild of the database can tell an empty file of an interrupted commit from a
   *   committed segment that lost its contents
   */
  constructor(after: number) {
    this.#after = after;
  }

  /**
   * Adds a record and returns its position. @param sequence sequence number of the item, larger than that of
   * the previous record
   */
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

  /**
   * Appends a table of contents to each segment. No record can be added afterwards. @returns the size of all
   * segments in bytes
   */
  finish(contents: Omit<Contents, 'parts'>): number {
    const { items, removals } = contents;
    if (this.segments.length === 0 && removals.length > 0) this.#begin(removals[0]!.sequence);
    const own = new Map<string, ItemRow[]>(this.segments.map(({ name }) => [name, []]));
    for (const row of items) own.get(row.segment)!.push(row);
    for (const segment of this.segments) {
      const listed = segment === this.segments.at(-1) ? removals : [];
      const end = encodeContents({
        ...contents,
        parts: this.segments.length,
        items: own.get(segment.name)!,
        removals: listed,
      });
      segment.parts.push(end);
      segment.size = segment.bytes + end.length;
      segment.removals = listed.length;
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

/**
 * Makes the name of a new segment. Its random part keeps it different from the names of files that an
 * interrupted commit left.
 */
const newName = (sequence: number): string =>
  `${String(sequence).padStart(10, '0')}-${crypto.randomUUID().slice(0, 8)}`;

/** The segments of one index, which are files in the folder of the index. */
export class SegmentFiles {
  readonly #name: string;
  readonly #folder: CacheFolder;
  /** Cache of segments that were read, least recently used first. */
  readonly #read = new Map<string, Bytes>();
  #readBytes = 0;
  readonly #ends = new Map<string, SegmentEnd>();

  constructor(name: string, folder: CacheFolder) {
    this.#name = name;
    this.#folder = folder;
  }

  /** Reads a segment, from the cache if possible. Returns undefined if the file does not exist. */
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

  /**
   * Returns the size of a segment and whether its table of contents is intact; undefined if the segment was
   * not read.
   */
  endOf(name: string): SegmentEnd | undefined {
    return this.#ends.get(name);
  }

  /** Clears the cache. */
  forget(): void {
    this.#ends.clear();
    this.#read.clear();
    this.#readBytes = 0;
  }

  /**
   * Writes segments: all of them, or none if one cannot be written. @param need size of the whole commit in
   * bytes, for the message of INDEX_QUOTA
   */
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

  /**
   * Removes files that are no longer in use. A file that cannot be removed now is removed when the index is
   * next opened.
   */
  async remove(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const bytes = this.#read.get(name);
      if (bytes) this.#readBytes -= bytes.length;
      this.#read.delete(name);
      await this.#folder.remove(name).catch(() => undefined);
    }
  }

  /** Returns the names of all files in the folder, without Chromium's swap files. */
  async names(): Promise<string[]> {
    return (await this.#list()).filter((name) => !name.endsWith('.crswap')).sort();
  }

  /**
   * Removes all files that belong to no commit: segments of interrupted commits, and Chromium's swap files.
   */
  async tidy(known: ReadonlySet<string>): Promise<void> {
    await this.remove((await this.#list()).filter((name) => !known.has(name)));
  }

  /** Protects later writes from a torn entry in the log of the browser (`CacheFolder.leaveTornBlock`). */
  async leaveTornBlock(): Promise<void> {
    await this.#folder.leaveTornBlock?.();
  }

  async #list(): Promise<string[]> {
    try {
      return await this.#folder.names();
    } catch (error) {
      throw storageError(this.#name, `its folder could not be read (${String(error)})`, error);
    }
  }

  async #fetch(name: string): Promise<Bytes | undefined> {
    try {
      const file = await this.#folder.read(name);
      return file && new Uint8Array(await file.arrayBuffer());
    } catch (error) {
      if (isVanished(error)) return undefined; // another tab removed the file while it was being read
      throw storageError(this.#name, `a file could not be read (${String(error)})`, error);
    }
  }
}
