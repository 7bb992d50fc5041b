/** Opens an index in a folder on disk. */
import { IndexError } from '../errors.js';
import { host } from '../platform/host.js';
import type { IndexHeader, Journal } from './journal.js';
import type { IndexFolder, OpenOptions } from './options.js';

/**
 * Opens the storage of an index in a folder.
 * @throws IndexError INDEX_STORAGE, if this runtime has no folders, or `where` names none
 */
export async function openFolder(
  where: string | IndexFolder,
  header: IndexHeader,
  options: Pick<OpenOptions, 'signal' | 'repair'>,
): Promise<Journal> {
  const folder = typeof where === 'object' ? (where as Partial<IndexFolder> | null)?.folder : undefined;
  if (host.openFolder && (typeof folder === 'string' || folder instanceof URL))
    return (await host.openFolder(folder, header as never, options)) as Journal;
  throw new IndexError(
    'INDEX_STORAGE',
    host.openFolder
      ? `EmbeddingIndex.open: expected { folder: './photographs.index' } in Node, found ${typeof where === 'string' ? `the name ${JSON.stringify(where)}` : 'no folder'}. Pass the path of a folder.`
      : 'EmbeddingIndex.open: this runtime has no folders on disk. Pass a name in a browser; in Node, import dinov2-webgpu/node.',
  );
}
