/** Finds the folder of a checkpoint, given an id on the Hugging Face hub or a URL. */
import { SourceError } from '../errors.js';
import { withoutSecrets } from './url.js';

/** Options for checkpoints on the Hugging Face hub. */
export interface HubOptions {
  /** Branch, tag or commit on the hub. Default: `main`. */
  readonly revision?: string | undefined;
  /** Base URL of a mirror of the hub, with the hub's paths. Default: https://huggingface.co. */
  readonly baseUrl?: string | URL | undefined;
  /** Replaces the global `fetch`, for example to send an Authorization header. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

const HUB = 'https://huggingface.co';
const hubHosts = new Set(['huggingface.co', 'www.huggingface.co', 'hf.co', 'www.hf.co']);

/**
 * Returns the URL, or in Node the path, of the folder that holds config.json and model.safetensors. The
 * result ends with a slash. If `id` is the address of a page on the hub, the result is the folder of the
 * repository that the page shows.
 * @throws SourceError SOURCE_URL
 */
export function locate(id: string | URL, { revision, baseUrl = HUB }: HubOptions = {}): string {
  if (typeof id === 'string' && /^[\w-][\w-]*$/.test(id)) {
    throw new SourceError(
      'SOURCE_URL',
      `${id}: expected a hub id with its owner, such as facebook/dinov2-small, or the URL of a folder. For a folder beside the page, write ./${id}.`,
    );
  }
  const page: HubPage | undefined = isHubId(id) ? { id, revision: undefined, folder: '' } : pageOfHub(id);
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

/**
 * Returns whether a text is `owner/name` in the characters that the hub allows. A path is no hub id, because
 * it begins with `/` or a dot; neither is a URL, because it has a colon.
 */
const isHubId = (id: string | URL): id is string =>
  typeof id === 'string' && /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(id);

/** The repository that the address of a page on the hub shows. */
interface HubPage {
  readonly id: string;
  readonly revision: string | undefined;
  /** A folder within the repository, with a slash at its end; empty for the root. */
  readonly folder: string;
}

/** First path segments on the hub that are not owners of model repositories. */
const noModels = new Set(['datasets', 'spaces', 'api', 'docs', 'papers', 'collections', 'blog', 'buckets']);

/**
 * Finds the repository that the address of a page on the hub shows: `/owner/name`, `/owner/name/tree/main`,
 * `/owner/name/blob/main/config.json`, `/owner/name/resolve/main/`. Returns undefined for other sites and for
 * pages that show no model.
 * @throws SourceError SOURCE_URL if the page shows a file that `fromPretrained` never reads
 */
function pageOfHub(address: string | URL): HubPage | undefined {
  const text = String(address);
  const bare = /^(https?:)?\/\//i.test(text) ? text : `https://${text}`;
  if (!URL.canParse(bare, HUB)) return undefined;
  const url = new URL(bare, HUB);
  if (!hubHosts.has(url.hostname) || url.port !== '') return undefined;
  const [owner, name, view, revision, ...path] = url.pathname.split('/').filter((part) => part !== '');
  if (owner === undefined || name === undefined || noModels.has(owner) || !isHubId(`${owner}/${name}`))
    return undefined;
  const id = `${owner}/${name}`;
  if (view === undefined || revision === undefined) return { id, revision: undefined, folder: '' };
  if (!['tree', 'blob', 'resolve', 'raw'].includes(view)) return { id, revision: undefined, folder: '' };
  const file = view === 'tree' || url.pathname.endsWith('/') ? undefined : path.at(-1);
  const isFile = file !== undefined && (view === 'blob' || view === 'raw' || file.includes('.'));
  if (isFile && !/^(model\.safetensors|[\w.-]+\.json|README\.md|model-\d+-of-\d+\.safetensors)$/.test(file))
    throw new SourceError(
      'SOURCE_URL',
      `${shown(text)}: expected the address of a repository, found the address of a file, ${file}, which fromPretrained does not read. ` +
        `Load this file with fromFiles({ weights: '${HUB}/${id}/resolve/${revision}/${path.join('/')}' }).`,
    );
  const folder = (isFile ? path.slice(0, -1) : path).map((part) => `${part}/`).join('');
  return { id, revision: decoded(revision), folder };
}

/** Decodes a path segment. A segment that is no valid encoding, such as `100%`, is returned unchanged. */
function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

const shown = (address: string | URL): string => withoutSecrets(address).slice(0, 200);

function withSlash(folder: string | URL): string {
  const text = String(folder);
  if (/[?#]/.test(text))
    throw new SourceError(
      'SOURCE_URL',
      `${shown(text)}: expected the URL of a folder that holds config.json and model.safetensors, found a URL with a query or a fragment. Remove the query and the fragment.`,
    );
  return text.endsWith('/') ? text : `${text}/`;
}
