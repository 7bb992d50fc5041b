/** `commitItems`: adds images to the index after the model has computed their vectors. */
import { IndexError } from '../../errors.js';
import type { Item } from '../options.js';
import type { FileMetadata, IngestOptions } from './options.js';
import type { IngestIndex, IngestResult } from './target.js';

/** An image and its file. */
export interface ImageFile {
  readonly id: string;
  readonly file: File;
}

/** What the model computed for an image. */
interface EmbeddedImage extends Pick<IngestResult, 'patches' | 'thumbnail'> {
  readonly vector: Float32Array<ArrayBuffer>;
}

/**
 * Makes the index item of an image from what the model computed for it.
 * @param look text that describes the preprocessing, if the item is to store this text; otherwise undefined
 */
export function itemOf(
  { id, file }: ImageFile,
  { vector, patches, thumbnail }: EmbeddedImage,
  metadata: IngestOptions['metadata'],
  look: string | undefined,
): Item {
  const { size, lastModified } = file;
  const fileMetadata: FileMetadata = {
    size,
    lastModified,
    ...(thumbnail && { width: thumbnail.width, height: thumbnail.height }),
    ...(look !== undefined && { look }),
  };
  return {
    id,
    vector,
    patches,
    metadata: { ...metadata?.(id, file), file: fileMetadata },
    thumbnail: thumbnail?.blob,
  };
}

/** The outcome of a commit. */
export interface CommitResult {
  /** Number of items that were added. */
  added: number;
  /** Number of items that existed and were updated. */
  updated: number;
  /** Ids of the items that the index refused, and the reasons. */
  readonly refused: { readonly id: string; readonly error: IndexError }[];
}

/**
 * Adds the new items in one commit, or one by one if the index refuses one of them. Then updates the items
 * that the index already has.
 * @param newNames ids that the index did not have when the ingest looked them up
 * @throws IndexError, or an error of the storage. Errors that concern a single item are not thrown: `refused`
 *   lists them
 */
export async function commitItems(
  index: IngestIndex,
  all: readonly Item[],
  newNames: ReadonlySet<string>,
): Promise<CommitResult> {
  const done: CommitResult = { added: 0, updated: 0, refused: [] };
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

/**
 * Refuses an item if another ingest added a different photograph with the same id after this ingest had
 * looked up the id in the index. Returns true if the item was refused.
 */
function refuseTaken(
  index: IngestIndex,
  { id, metadata }: Item,
  newNames: ReadonlySet<string>,
  { refused }: CommitResult,
): boolean {
  if (!newNames.has(id) || !index.has(id)) return false;
  const fileOf = (value: unknown): unknown => (value as { file?: unknown } | undefined)?.file;
  const there = fileOf(index.metadata(id));
  if (there === undefined || JSON.stringify(there) === JSON.stringify(fileOf(metadata))) return false;
  const message = `${id}: another ingest has just added a different photograph under this id. Ingest this photograph with a prefix (under: 'a name').`;
  refused.push({ id, error: new IndexError('INDEX_DUPLICATE_ID', message) });
  return true;
}

async function put(index: IngestIndex, item: Item, done: CommitResult): Promise<void> {
  const { id, ...changes } = item;
  const there = index.has(id);
  try {
    if (there) await index.update(id, changes);
    else await index.addMany([item]);
    done[there ? 'updated' : 'added'] += 1;
  } catch (error) {
    if (!isOfAnItem(error)) throw error;
    // Another tab has added or removed the item since `index.has` was called: try again.
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
