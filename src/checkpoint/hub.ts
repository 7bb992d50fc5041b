/** Where a checkpoint's files are: an id on the Hugging Face hub, or a folder that a site hosts itself. */
import { SourceError } from '../errors.js';

export interface HubOptions {
  /** Branch, tag or commit on the hub. Default: `main`. */
  readonly revision?: string | undefined;
  /** Another host with the hub's paths (a mirror). Default: https://huggingface.co. */
  readonly baseUrl?: string | URL | undefined;
  /** In place of the global fetch: for headers of authorisation, or a cache of one's own. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

const HUB = 'https://huggingface.co';

/**
 * The URL (in Node perhaps the path) of the folder with config.json and model.safetensors; it ends with a
 * slash. @throws SourceError SOURCE_URL
 */
export function locate(id: string | URL, { revision, baseUrl = HUB }: HubOptions = {}): string {
  if (typeof id === 'string' && /^[\w-][\w-]*$/.test(id)) {
    throw new SourceError(
      'SOURCE_URL',
      `${id}: expected an id of the hub with its owner, such as facebook/dinov2-small, or the URL of a folder. For a folder beside the page, write ./${id}.`,
    );
  }
  if (isHubId(id))
    return `${String(baseUrl).replace(/\/$/, '')}/${id}/resolve/${encodeURIComponent(revision ?? 'main')}/`;
  if (revision !== undefined)
    throw new SourceError(
      'SOURCE_URL',
      `${String(id)}: expected no revision beside a folder's URL, found ${revision}. Give the folder that has it.`,
    );
  return withSlash(id);
}

/**
 * `owner/name`, in the characters that the hub allows; a path begins with `/` or a dot, a URL has a colon.
 */
const isHubId = (id: string | URL): id is string =>
  typeof id === 'string' && /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(id);

function withSlash(folder: string | URL): string {
  const text = String(folder);
  if (/[?#]/.test(text))
    throw new SourceError(
      'SOURCE_URL',
      `${text}: expected the URL of a folder that holds config.json and model.safetensors, found one with a query or a fragment. Give the folder.`,
    );
  return text.endsWith('/') ? text : `${text}/`;
}
