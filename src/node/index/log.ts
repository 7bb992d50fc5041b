/** Reads and writes the log of an index: which items it has, and where their bytes are in the file. */
import type { FileHandle } from 'node:fs/promises';
import { deserialize } from 'node:v8';
import type { Change, IndexHeader, StoredItem } from '../../search/journal.js';
import { crc32c } from '../../search/store/crc32c.js';
import { encodeFrame, nextFrame, PREFIX_BYTES, readBytes, readFrame, type Frame } from './frames.js';
import { bytesOf, checkedHead, valuesFault, type Entry, type FirstHead, type Put } from './heads.js';

/** A range of the file. */
interface Place {
  readonly at: number;
  readonly bytes: number;
}

/** Where an item is. */
interface Known {
  readonly put: Put;
  /** Position of its vector, behind which its patches lie. */
  readonly at: number;
  /** CRC-32C of its vector and patches. */
  readonly crc: number;
  readonly thumbnail: (Place & { readonly type: string; readonly crc: number }) | undefined;
}

/** Damage that reading the log found. */
export interface Damage {
  /** Ids of items whose bytes are damaged. */
  readonly items: string[];
  readonly notes: string[];
}

/** The contents of the log as far as they were read. */
export class Log {
  first: FirstHead | undefined;
  readonly #items = new Map<string, Known>();
  readonly #states = new Map<string, unknown>();
  #itemBytes = 0;
  readonly #stateBytes = new Map<string, number>();
  readonly damage: Damage = { items: [], notes: [] };
  /** Position behind the last frame that was read. */
  end = 0;
  readonly #expected: IndexHeader | undefined;

  /** @param expected the header by which items are read if the first frame is damaged */
  constructor(expected?: IndexHeader) {
    this.#expected = expected;
  }

  /** Items by id, in the order in which they were last put. */
  get items(): ReadonlyMap<string, Known> {
    return this.#items;
  }

  get states(): ReadonlyMap<string, unknown> {
    return this.#states;
  }

  get #header(): IndexHeader | undefined {
    return this.first?.header ?? (this.end > 0 ? this.#expected : undefined);
  }

  /** Bytes of the file in use by items and states, about; the rest is wasted. */
  get liveBytes(): number {
    return this.#itemBytes + [...this.#stateBytes.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /**
   * Reads frames from `end` on. Calls `onChange` for each change. Where bytes are damaged, continues with the
   * next frame and records the damage.
   */
  async read(file: FileHandle, onChange?: (change: Change) => void, signal?: AbortSignal): Promise<void> {
    for (const { size } = await file.stat(); ;) {
      signal?.throwIfAborted();
      const found = await readFrame(file, this.end, size);
      if (found === 'end') return;
      if (found === 'damage') {
        const next = await nextFrame(file, this.end + 1, size);
        this.damage.notes.push(
          `${next - this.end} bytes from byte ${this.end} on are damaged; changes in them are lost, also of older items`,
        );
        this.end = next;
      } else {
        this.#apply(found, onChange);
        this.end = found.end;
      }
    }
  }

  #apply({ at: from, head, body, bodyAt, damaged }: Frame, onChange?: (change: Change) => void): void {
    const header = this.#header;
    const found = checkedHead(head, { header, bodyBytes: body.length });
    if (typeof found === 'string')
      this.damage.notes.push(`the change at byte ${from} is invalid, and lost: ${found}`);
    else if ('format' in found) this.first = found;
    else if ('state' in found) this.#applyState(found.state, damaged ? undefined : body);
    else {
      let at = 0;
      for (const change of found.changes) {
        if ('remove' in change) {
          this.remove(change.remove);
          onChange?.(change);
          continue;
        }
        const { put } = change;
        const end = at + bytesOf(put);
        const data = body.subarray(at, end);
        if (damaged || valuesFault(put, data, header!)) {
          // An older version of the item must not take its place.
          this.damage.items.push(put.id);
          this.remove(put.id);
          onChange?.({ remove: put.id });
        } else {
          onChange?.({ put: itemOf(put, data) });
          this.put(put, bodyAt + at, crc32c(data.subarray(0, itemBytes(put))));
        }
        at = end;
      }
    }
  }

  /** @param body undefined if it is damaged */
  #applyState(key: string, body: Uint8Array | undefined): void {
    this.setState(key, undefined, 0);
    if (body?.length === 0) return;
    try {
      if (body) return this.setState(key, deserialize(body), body.length);
    } catch {
      // Its bytes are no value: the note says so.
    }
    this.damage.notes.push(`the state ${JSON.stringify(key)} is damaged`);
  }

  /** Records the value of a state; undefined removes it. @param bytes its length in the file */
  setState(key: string, value: unknown, bytes: number): void {
    if (value === undefined) {
      this.#states.delete(key);
      this.#stateBytes.delete(key);
    } else {
      this.#states.set(key, value);
      this.#stateBytes.set(key, bytes);
    }
  }

  /**
   * Records where an item is. If it has no thumbnail, it keeps that of the item that it replaces.
   * @param crc CRC-32C of its vector and patches
   */
  put(put: Put, at: number, crc: number): void {
    const before = this.#items.get(put.id);
    const thumbnail = put.thumbnail ? { ...put.thumbnail, at: at + itemBytes(put) } : before?.thumbnail;
    this.remove(put.id);
    const known = { put, at, crc, thumbnail };
    this.#items.set(put.id, known);
    this.#itemBytes += fileBytes(known);
  }

  remove(id: string): void {
    const known = this.#items.get(id);
    if (!known) return;
    this.#items.delete(id);
    this.#itemBytes -= fileBytes(known);
  }

  /** Reads an item, without its thumbnail. Returns 'damaged' if its bytes are not as written. */
  async item(file: FileHandle, { put, at, crc }: Known): Promise<StoredItem | 'damaged'> {
    const bytes = await readBytes(file, at, itemBytes(put));
    return crc32c(bytes) === crc ? itemOf(put, bytes) : 'damaged';
  }

  /** Reads the thumbnail of an item. Undefined if it has none; 'damaged' if its bytes are not as written. */
  async thumbnail(file: FileHandle, id: string): Promise<Blob | 'damaged' | undefined> {
    const found = this.items.get(id)?.thumbnail;
    if (!found) return undefined;
    const bytes = await readBytes(file, found.at, found.bytes);
    return crc32c(bytes) === found.crc ? new Blob([bytes], { type: found.type }) : 'damaged';
  }
}

/** Bytes of an item's vector and patches. */
const itemBytes = ({ vector, patches }: Put): number => vector + (patches?.bytes ?? 0);

/** Bytes of the file that belong to an item, about: frames differ by a few bytes. */
const fileBytes = ({ put, thumbnail }: Known): number =>
  Buffer.byteLength(JSON.stringify(put)) + itemBytes(put) + (thumbnail?.bytes ?? 0);

/** @param data vector and patches of the item, and what follows them */
function itemOf({ id, metadata, vector, patches }: Put, data: Uint8Array<ArrayBuffer>): StoredItem {
  return {
    id,
    metadata,
    vector: data.slice(0, vector),
    ...(patches && {
      patches: {
        rows: patches.rows,
        cols: patches.cols,
        data: data.slice(vector, vector + patches.bytes),
      },
    }),
  };
}

/** A frame that is to be written, and what it changes. */
export interface NewFrame {
  readonly parts: readonly Uint8Array[];
  /** The items with their positions relative to the beginning of the frame, and the removed ids, in order. */
  readonly entries: readonly (
    { readonly put: Put; readonly at: number; readonly crc: number } | { readonly remove: string }
  )[];
}

/** Encodes changes as one frame: all of them are made, or none. */
export async function changesFrame(changes: readonly Change[]): Promise<NewFrame> {
  const heads: Entry[] = [];
  const body: Uint8Array[] = [];
  const sums = new Map<Entry, number>();
  for (const change of changes) {
    if ('remove' in change) {
      heads.push(change);
      continue;
    }
    const { id, metadata, vector, patches, thumbnail } = change.put;
    const picture = thumbnail && new Uint8Array(await thumbnail.arrayBuffer());
    body.push(vector, ...(patches ? [patches.data] : []), ...(picture ? [picture] : []));
    const entry: Entry = {
      put: {
        id,
        metadata,
        vector: vector.length,
        ...(patches && { patches: { rows: patches.rows, cols: patches.cols, bytes: patches.data.length } }),
        ...(picture && {
          thumbnail: { type: thumbnail.type, bytes: picture.length, crc: crc32c(picture) },
        }),
      },
    };
    heads.push(entry);
    sums.set(entry, patches ? crc32c(patches.data, crc32c(vector)) : crc32c(vector));
  }
  const parts = encodeFrame({ changes: heads }, body);
  let at = PREFIX_BYTES + parts[1]!.length;
  const entries = heads.map((entry) => {
    if ('remove' in entry) return entry;
    const placed = { put: entry.put, at, crc: sums.get(entry)! };
    at += bytesOf(entry.put);
    return placed;
  });
  return { parts, entries };
}
