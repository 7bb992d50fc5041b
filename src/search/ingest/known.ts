/** Compares the files and the model of an ingest with what the index already contains. */
import { IndexError } from '../../errors.js';
import {
  DEFAULT_LOOK,
  lookText,
  modelIdentity,
  modelText,
  sameModel,
  type IdentityOptions,
} from '../identity.js';
import { OWN_OPTIONS, type FileMetadata, type IngestOptions } from './options.js';
import type { IngestIndex, IngestModel } from './target.js';

type IndexContents = Pick<IngestIndex, 'has' | 'metadata' | 'header'>;

const fileOf = (index: IndexContents, id: string): Partial<FileMetadata> | undefined => {
  const metadata = index.has(id) ? index.metadata(id) : undefined;
  return typeof metadata === 'object' && metadata !== null && 'file' in metadata
    ? ((metadata.file as Partial<FileMetadata> | null) ?? undefined)
    : undefined;
};

/**
 * True if the index has an item with this id that was made from this file. Files count as the same if size
 * and date are equal.
 */
export function isSameFile(index: IndexContents, id: string, { size, lastModified }: File): boolean {
  const file = fileOf(index, id);
  return file?.size === size && file.lastModified === lastModified;
}

/**
 * True if the index has an item with this id that was made from this file with the same preprocessing. If the
 * index has a model, `checkModel` has already compared the preprocessing; otherwise the text `look` is
 * compared here.
 */
export const isUnchanged = (
  index: IndexContents,
  id: string,
  file: File,
  look: string | undefined,
): boolean =>
  isSameFile(index, id, file) && (index.header.model !== undefined || fileOf(index, id)?.look === look);

/**
 * Checks that the model and the options of an ingest fit the index.
 * @returns text that describes the preprocessing, if the index has no model and the preprocessing is not the
 *   default; otherwise undefined
 * @throws IndexError INDEX_MODEL if the vectors in the index were made by a different model or with different
 *   options
 */
export async function checkModel(
  { header: { model: indexModel } }: IndexContents,
  model: IngestModel,
  options: IngestOptions,
): Promise<string | undefined> {
  const modelOptions = Object.entries(options).filter(([name]) => !OWN_OPTIONS.has(name));
  if (!indexModel) {
    const text = lookText(
      model,
      Object.fromEntries(modelOptions.filter(([, value]) => value !== undefined)) as IdentityOptions,
    );
    return text === DEFAULT_LOOK ? undefined : text;
  }
  const look: IdentityOptions = Object.fromEntries(modelOptions);
  const found = await modelIdentity(model, look);
  if (sameModel(found, indexModel)) return undefined;
  throw new IndexError(
    'INDEX_MODEL',
    `ingest: expected the model and options that the index was made with, ${modelText(indexModel)}, found ${modelText(found)}. Use that model and those options, or another index.`,
  );
}

/**
 * Returns the ids of items that came from the ingested folders and whose files no longer exist in them.
 * @param folders id prefixes of the ingested folders
 * @param known id prefixes of all folders and files that the index was made from. Some of them lie within an
 *   ingested folder but are not part of this ingest: their items do not count as missing
 * @param seen ids of the files that this ingest found
 */
export function missingIds(
  index: Pick<IngestIndex, 'ids'>,
  folders: readonly string[],
  known: readonly string[],
  seen: ReadonlySet<string>,
): string[] {
  const own = new Set(folders);
  const withOthers = [...own].map((folder) => ({
    folder,
    others: known.filter((prefix) => prefix.startsWith(folder) && !own.has(prefix)),
  }));
  const isOwn = (id: string): boolean =>
    withOthers.some(
      ({ folder, others }) => id.startsWith(folder) && !others.some((other) => id.startsWith(other)),
    );
  return [...index.ids()].filter((id) => !seen.has(id) && isOwn(id));
}
