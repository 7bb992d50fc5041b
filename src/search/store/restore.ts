/** Rebuilds the database of an index from the segments after the browser has lost the database. */
import { decodeContents, type Contents } from './contents.js';
import type { InitialRows } from './database.js';
import { segmentsOf } from './inspect.js';
import { addSeal, type HeaderRow, type ItemRow, type SegmentRow, type Seals } from './rows.js';
import { sequenceOfName, type SegmentFiles } from './segments.js';

/** The rows of a rebuilt database, and the names of the files that could not be read. */
export interface Restored extends InitialRows {
  /** Names of the files whose table of contents is damaged. */
  readonly unreadable: readonly string[];
}

/** A segment that has been read, with its table of contents. */
interface SegmentContents {
  readonly name: string;
  readonly size: number;
  readonly contents: Contents;
}

/** Returns the highest sequence number in a segment's table of contents. */
const sequenceOf = ({ items, removals }: Contents): number =>
  [...items, ...removals].reduce((last, { sequence }) => Math.max(last, sequence), 0);

/**
 * Reads the tables of contents of segments. An empty file is ignored if the sequence number in its name is
 * higher than all sequence numbers in the other files: the browser was killed before it wrote the file.
 */
export async function readContents(
  files: SegmentFiles,
  names: readonly string[],
): Promise<{ found: SegmentContents[]; unreadable: string[] }> {
  const found: SegmentContents[] = [];
  const unreadable: { name: string; empty: boolean }[] = [];
  for (const name of names) {
    const bytes = await files.read(name);
    const contents = bytes && decodeContents(bytes);
    if (contents) found.push({ name, size: bytes.length, contents });
    else unreadable.push({ name, empty: !bytes });
  }
  files.forget();
  const last = Math.max(0, ...found.map(({ contents }) => sequenceOf(contents)));
  return {
    found,
    unreadable: unreadable
      .filter(({ name, empty }) => !empty || !(sequenceOfName(name) > last))
      .map(({ name }) => name),
  };
}

/**
 * Computes the rows of the database from the tables of contents of the segments. For each item id, the row of
 * its last change is used. A commit whose transaction was interrupted is included if all of its files exist:
 * it is complete, although its promise did not resolve. Thumbnails and values of `setState` are lost, because
 * only the database contained them.
 */
export function restore(
  header: HeaderRow,
  seals: Seals,
  all: readonly SegmentContents[],
  unreadable: readonly string[],
): Restored {
  const settled = Math.max(0, ...all.map(({ contents }) => contents.settled));
  const found = all.filter(
    ({ contents }) =>
      sequenceOf(contents) <= settled ||
      all.filter((other) => other.contents.commit === contents.commit).length === contents.parts,
  );
  const latest = new Map<string, { readonly sequence: number; readonly row: ItemRow | undefined }>();
  for (const { name, contents } of found) {
    const changes = [
      ...contents.items
        .filter((row) => seals.isItem(row) && row.segment === name)
        .map((row) => ({ id: row.id, sequence: row.sequence, row })),
      ...contents.removals
        .filter((row) => seals.isRemoval(row))
        .map(({ id, sequence }) => ({ id, sequence, row: undefined })),
    ];
    for (const { id, ...change } of changes)
      if (change.sequence > (latest.get(id)?.sequence ?? -1)) latest.set(id, change);
  }
  const items = [...latest.values()]
    .flatMap(({ row }) => (row ? seals.item({ ...row, thumbnail: undefined }) : []))
    .sort((a, b) => a.sequence - b.sequence);
  const live = segmentsOf(items);
  const segments = found.flatMap(({ name, size, contents }): SegmentRow[] => {
    const removals = contents.removals.length;
    const row = live.get(name) ?? {
      name,
      bytes: 0,
      size,
      items: 0,
      liveBytes: 0,
      removals,
      first: contents.settled + 1,
      last: contents.settled + 1,
    };
    return row.items > 0 || removals > 0
      ? [
          seals.segment({
            ...row,
            size,
            removals,
            first: Math.min(
              row.first,
              contents.items[0]?.sequence ?? Infinity,
              contents.removals[0]?.sequence ?? Infinity,
            ),
          }),
        ]
      : [];
  });
  const last = Math.max(settled, ...found.map(({ contents }) => sequenceOf(contents)));
  const sum = items.reduce((total, { seal }) => addSeal(total, seal), 0);
  const state = seals.state({
    generation: 1,
    last,
    floor: last,
    items: items.length,
    removals: 0,
    sum,
    token: crypto.randomUUID(),
  });
  return { header, state, items, segments, unreadable };
}
