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
 * @param newNames ids that the index did not have when they were looked up
 * @throws IndexError, or an error of the storage, that is of no item
 */
export async function commitItems(
  index: IngestIndex,
  all: readonly Item[],
  newNames: ReadonlySet<string>,
): Promise<Committed> {
  const done: Committed = { added: 0, updated: 0, refused: [] };
  const items = all.filter((item) => !refuseTaken(index, item, newNames, done));
  const fresh = items.filter(({ id }) => !index.has(id));
  try {
    if (fresh.length > 0) await index.addMany(fresh);
    done.added += fresh.length;
  } catch (error) {
    if (!isOfAnItem(error)) throw error;
    for (const item of fresh) if (!refuseTaken(index, item, newNames, done)) await put(index, item, done);
  }
  for (const item of items) if (!fresh.includes(item)) await put(index, item, done);
  return done;
}

/** Another ingest may have taken the name meanwhile, for another photograph. */
function refuseTaken(
  index: IngestIndex,
  { id, metadata }: Item,
  newNames: ReadonlySet<string>,
  { refused }: Committed,
): boolean {
  if (!newNames.has(id) || !index.has(id)) return false;
  const fileOf = (value: unknown): unknown => (value as { file?: unknown } | undefined)?.file;
  const there = fileOf(index.metadata(id));
  if (there === undefined || JSON.stringify(there) === JSON.stringify(fileOf(metadata))) return false;
  const message = `${id}: expected a name that the index does not have, found that another ingest has taken it for another photograph. Give this one a name of its own (under: 'a name').`;
  refused.push({ id, error: new IndexError('INDEX_DUPLICATE_ID', message) });
  return true;
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
