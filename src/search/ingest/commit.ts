/** Items → an index. */
import { IndexError } from '../../errors.js';
import type { Item } from '../options.js';
import type { IngestIndex } from './target.js';

/** What became of items. */
export interface Committed {
  added: number;
  updated: number;
  /** Items that the index refuses. */
  readonly refused: { readonly id: string; readonly error: IndexError }[];
}

/**
 * New items all at once, or one by one where one of them is refused; then those that are there already.
 * @throws IndexError, or an error of the storage, that is of no item
 */
export async function commitItems(index: IngestIndex, items: readonly Item[]): Promise<Committed> {
  const done: Committed = { added: 0, updated: 0, refused: [] };
  const fresh = items.filter(({ id }) => !index.has(id));
  try {
    if (fresh.length > 0) await index.addMany(fresh);
    done.added += fresh.length;
  } catch (error) {
    if (!isOfAnItem(error)) throw error;
    for (const item of fresh) await put(index, item, done);
  }
  for (const item of items) if (!fresh.includes(item)) await put(index, item, done);
  return done;
}

async function put(index: IngestIndex, item: Item, done: Committed): Promise<void> {
  const { id, ...changes } = item;
  const there = index.has(id);
  try {
    if (there) await index.update(id, changes);
    else await index.addMany([item]);
    done[there ? 'updated' : 'added'] += 1;
  } catch (error) {
    if (!isOfAnItem(error)) throw error;
    // Another tab has put it, or taken it away, in the moment between.
    if (index.has(id) !== there) return put(index, item, done);
    done.refused.push({ id, error });
  }
}

const ofAnItem: readonly string[] = [
  'INDEX_ID',
  'INDEX_VECTOR',
  'INDEX_METADATA',
  'INDEX_PATCHES',
  'INDEX_DUPLICATE_ID',
  'INDEX_UNKNOWN_ID',
];
const isOfAnItem = (error: unknown): error is IndexError =>
  error instanceof IndexError && ofAnItem.includes(error.code);
