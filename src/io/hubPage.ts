/** Reads the addresses of pages on the Hugging Face hub, which people copy from the browser. */
import { SourceError } from '../errors.js';
import { HUB, isHubId, shown } from './hubId.js';

const hubHosts = new Set(['huggingface.co', 'www.huggingface.co', 'hf.co', 'www.hf.co']);

/** The repository that the address of a page on the hub shows. */
export interface HubPage {
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
export function pageOfHub(address: string | URL): HubPage | undefined {
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
