/** Finds the folder of a checkpoint, given an id on the Hugging Face hub or a URL. */
import { SourceError } from '../errors.js';
import { loadPart } from '../platform/part.js';
import { HUB, isHubId, shown } from './hubId.js';
import type { HubPage } from './hubPage.js';

/** Options for checkpoints on the Hugging Face hub. */
export interface HubOptions {
  /** Branch, tag or commit on the hub. Default: `main`. */
  readonly revision?: string | undefined;
  /** Base URL of a mirror of the hub, with the hub's paths. Default: https://huggingface.co. */
  readonly baseUrl?: string | URL | undefined;
  /** Replaces the global `fetch`, for example to send an Authorization header. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/**
 * Returns the URL, or in Node the path, of the folder that holds config.json and model.safetensors. The
 * result ends with a slash. If `id` is the address of a page on the hub, the result is the folder of the
 * repository that the page shows.
 * @throws SourceError SOURCE_URL
 */
export async function locate(
  id: string | URL,
  { revision, baseUrl = HUB }: HubOptions = {},
): Promise<string> {
  if (typeof id === 'string' && /^[\w-][\w-]*$/.test(id)) {
    throw new SourceError(
      'SOURCE_URL',
      `${id}: expected a hub id with its owner, such as facebook/dinov2-small, or the URL of a folder. For a folder beside the page, write ./${id}.`,
    );
  }
  let page: HubPage | undefined;
  if (isHubId(id)) page = { id, revision: undefined, folder: '' };
  else if (/(huggingface|hf)\.co/i.test(String(id)))
    page = (await loadPart(import('./hubPage.js'))).pageOfHub(id);
  if (page) {
    if (page.revision !== undefined && revision !== undefined && page.revision !== revision)
      throw new SourceError(
        'SOURCE_URL',
        `${shown(id)}: the address names the revision ${page.revision}, but the option revision is ${revision}. Pass the id ${page.id} and one revision.`,
      );
    const chosen = encodeURIComponent(page.revision ?? revision ?? 'main');
    return `${String(baseUrl).replace(/\/$/, '')}/${page.id}/resolve/${chosen}/${page.folder}`;
  }
  if (revision !== undefined)
    throw new SourceError(
      'SOURCE_URL',
      `${shown(id)}: the option revision (${revision}) works with a hub id only. For a URL, pass the URL of that revision's folder.`,
    );
  return withSlash(id);
}

function withSlash(folder: string | URL): string {
  const text = String(folder);
  if (/[?#]/.test(text))
    throw new SourceError(
      'SOURCE_URL',
      `${shown(text)}: expected the URL of a folder that holds config.json and model.safetensors, found a URL with a query or a fragment. Remove the query and the fragment.`,
    );
  return text.endsWith('/') ? text : `${text}/`;
}
