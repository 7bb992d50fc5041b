/** What an index knows: of a file by its id, and of the model that made its vectors. */
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

type Known = Pick<IngestIndex, 'has' | 'metadata' | 'header'>;

const fileOf = (index: Known, id: string): Partial<FileMetadata> | undefined => {
  const metadata = index.has(id) ? index.metadata(id) : undefined;
  return typeof metadata === 'object' && metadata !== null && 'file' in metadata
    ? ((metadata.file as Partial<FileMetadata> | null) ?? undefined)
    : undefined;
};

/** Whether an index has this very file, by its size and date. */
export function isSameFile(index: Known, id: string, { size, lastModified }: File): boolean {
  const file = fileOf(index, id);
  return file?.size === size && file.lastModified === lastModified;
}

/** Whether an index has this very file, and made of it what `look` says. */
export const isUnchanged = (index: Known, id: string, file: File, look: string | undefined): boolean =>
  isSameFile(index, id, file) && (index.header.model !== undefined || fileOf(index, id)?.look === look);

/**
 * What becomes of pixels, where the index's header does not say it and it is not the default.
 * @throws IndexError INDEX_MODEL, where the index says what makes its vectors, and this is something else
 */
export async function checkModel(
  { header: { model: wanted } }: Known,
  model: IngestModel,
  options: IngestOptions,
): Promise<string | undefined> {
  const given = Object.entries(options).filter(([name]) => !OWN_OPTIONS.has(name));
  if (!wanted) {
    const text = lookText(
      model,
      Object.fromEntries(given.filter(([, value]) => value !== undefined)) as IdentityOptions,
    );
    return text === DEFAULT_LOOK ? undefined : text;
  }
  const look: IdentityOptions = Object.fromEntries(given);
  const found = await modelIdentity(model, look);
  if (sameModel(found, wanted)) return undefined;
  throw new IndexError(
    'INDEX_MODEL',
    `ingest: expected what the index was made with, ${modelText(wanted)}, found ${modelText(found)}. Use that model and those options, or another index.`,
  );
}

/**
 * Ids of an index that lie in these folders and were not seen there.
 * @param known what ids of folders begin with, and ids of files: those of a folder within that came from
 *   elsewhere are not this one's
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
