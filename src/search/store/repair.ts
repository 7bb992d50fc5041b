/** `dropDamaged`: rewrites the database of a damaged index so that it contains only the intact items. */
import type { Context } from './context.js';
import { ignoreRejection } from './database.js';
import { segmentsOf, type Damage, type Rows } from './inspect.js';
import { readContents } from './restore.js';
import { addSeal, ONLY, type HeaderRow, type SegmentRow, type StateRow } from './rows.js';

/**
 * Rewrites the database so that it contains only the intact items. Other tabs that have the index open then
 * compare all of their items with the database. The caller must hold the index's lock.
 */
export async function dropDamaged(
  context: Context,
  header: HeaderRow,
  rows: Rows,
  damage: Damage,
): Promise<Pick<Rows, 'items' | 'segments'> & { readonly state: StateRow }> {
  const { database, files, seals } = context;
  const items = damage.whole;
  const { found } = await readContents(files, await files.names());
  const live = segmentsOf(items);
  // Keep files that record removals, even if they contain no intact items, but not files whose commit was not
  // completed.
  const before = seals.isState(rows.state) ? rows.state : undefined;
  for (const { name, contents } of found) {
    const first = contents.removals[0]?.sequence;
    if (
      first !== undefined &&
      !live.has(name) &&
      contents.removals.at(-1)!.sequence <= (before?.last ?? Infinity)
    )
      live.set(name, { name, bytes: 0, size: 0, items: 0, liveBytes: 0, removals: 0, first, last: first });
  }
  const sizes = new Map(
    found.map(({ name, size, contents }) => [
      name,
      { size, removals: contents.removals.length, first: contents.items[0]?.sequence },
    ]),
  );
  const segments: SegmentRow[] = [...live.values()].map((row) => {
    const { size = row.bytes, removals = 0, first = row.first } = sizes.get(row.name) ?? {};
    return seals.segment({ ...row, size, removals, first: Math.min(row.first, first) });
  });
  const last =
    rows.removals.reduce(
      (largest, { sequence }) => Math.max(largest, sequence), // Math.max(...) throws for 125,000 arguments
      Math.max(before?.last ?? 0, items.at(-1)?.sequence ?? 0),
    ) + 1;
  const state = seals.state({
    generation: (before?.generation ?? 0) + 1,
    last,
    floor: last,
    items: items.length,
    removals: 0,
    sum: items.reduce((sum, { seal }) => addSeal(sum, seal), 0),
    token: crypto.randomUUID(),
  });
  await database.write(
    ['header', 'state', 'items', 'removals', 'segments', 'thumbnails'],
    0,
    async (transaction) => {
      const thumbnails = transaction.objectStore('thumbnails');
      const withThumbnail = new Set(
        items.flatMap(({ id, thumbnail }) => (thumbnail === undefined ? [] : [id])),
      );
      for (const id of await thumbnails.getAllKeys())
        if (!withThumbnail.has(id)) ignoreRejection(thumbnails.delete(id));
      for (const name of ['items', 'removals', 'segments'] as const)
        ignoreRejection(transaction.objectStore(name).clear());
      for (const row of items) ignoreRejection(transaction.objectStore('items').put(row));
      for (const row of segments) ignoreRejection(transaction.objectStore('segments').put(row));
      ignoreRejection(transaction.objectStore('state').put(state, ONLY));
      ignoreRejection(transaction.objectStore('header').put(header, ONLY));
    },
  );
  return { state, items, segments };
}
