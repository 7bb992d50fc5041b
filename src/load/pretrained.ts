/** Checkpoints on a server, as sources for the loader. */
import type { CachePlan } from '../checkpoint/cacheEntry.js';
import { release } from '../checkpoint/chunks.js';
import { locate } from '../checkpoint/hub.js';
import { askSource, type SourceState } from '../checkpoint/revalidate.js';
import { checkDigest, parseSha256, sha256 } from '../checkpoint/sha256.js';
import { openCheckpoint, parseShardIndex, type ShardFile, type ShardIndex } from '../checkpoint/shards.js';
import { isUrl, readAll } from '../checkpoint/sources.js';
import type { TensorStream } from '../checkpoint/tensorStream.js';
import { ConfigError, SourceError } from '../errors.js';
import type { PretrainedOptions } from '../options.js';
import { describedBy, parseJson } from './configFile.js';
import type { CheckpointSource } from './source.js';

const WEIGHTS = 'model.safetensors';
const CONFIG = 'config.json';
const INDEX = `${WEIGHTS}.index.json`;
/** Of an index: giant's would have 100 kB. */
const MAX_INDEX_BYTES = 2 ** 24;

/** @throws SourceError SOURCE_URL, ConfigError CONFIG_FIELD */
export function pretrained(id: string | URL, options: PretrainedOptions): CheckpointSource {
  const folder = locate(id, options);
  const integrity = hashes(options.integrity);
  const { signal, fetch, retry } = options;
  const fixed = /^[0-9a-f]{40}$/.test(options.revision ?? '') || integrity[WEIGHTS] !== undefined;
  const ask =
    options.revalidate === true && !fixed
      ? (plan: CachePlan): Promise<SourceState> => askSource(plan, { signal, fetch })
      : undefined;
  return {
    cache: isUrl(folder)
      ? {
          kind: options.cache ?? 'auto',
          persist: options.persist ?? false,
          ask,
          id: String(id),
          folder: absolute(folder),
          integrity,
        }
      : undefined,
    local: !isUrl(folder),
    async open({ onProgress, reload, whole, resume }) {
      const common = { signal, fetch, retry, reload, whole };
      const wanted = resume?.integrity ?? integrity; // what a download began with is checked to its end
      const fileOf = (name: string): ShardFile => ({
        name,
        source: `${folder}${name}`,
        sha256: wanted[name],
      });
      if (resume) {
        // By their names: as URLs they may have been written as seen from another page.
        const files = resume.versions.map(({ url }) => fileOf(url.slice(url.lastIndexOf('/') + 1)));
        return { stream: await openCheckpoint(files, { ...common, onProgress, resume }) };
      }
      const readSmall = async (name: string, maxBytes?: number): Promise<Uint8Array<ArrayBuffer>> => {
        const bytes = await readAll(`${folder}${name}`, { ...common, maxBytes });
        if (wanted[name] !== undefined) checkDigest(name, wanted[name], sha256(bytes));
        return bytes;
      };
      const explained = async (error: unknown): Promise<unknown> => {
        if (!isMissing(error)) return error;
        return import('../checkpoint/otherFormats.js').then(
          ({ explainMissing }) => explainMissing(folder, error as SourceError, common),
          () => error, // without a network there is no advice
        );
      };
      const config = await readSmall(CONFIG).catch(async (error: unknown) => {
        throw await explained(error);
      });
      const described = describedBy(parseJson(config));
      const openAll = (names: readonly string[], index?: ShardIndex): Promise<TensorStream> =>
        openCheckpoint(names.map(fileOf), { ...common, onProgress, index });
      let stream: TensorStream;
      let names = [WEIGHTS];
      try {
        stream = await openAll(names);
      } catch (missing) {
        if (!isMissing(missing)) throw missing;
        const index = await readSmall(INDEX, MAX_INDEX_BYTES).catch(async (error: unknown) => {
          throw isMissing(error) ? await explained(missing) : error;
        });
        const parsed = parseShardIndex(index);
        stream = await openAll(parsed.files, parsed);
        names = [INDEX, ...parsed.files];
      }
      names.push(CONFIG);
      const unread = Object.keys(wanted).find((file) => !names.includes(file));
      if (unread !== undefined) {
        const error = new SourceError(
          'SOURCE_INTEGRITY',
          `integrity: expected hashes of what is read, found one of ${unread}. Name these: ${names.join(', ').slice(0, 200)}.`,
        );
        release(stream, error);
        throw error;
      }
      return { ...described, configText: new TextDecoder().decode(config), stream };
    },
  };
}

/**
 * Whether a file may not be there: buckets that may not be listed say 403 then, single-page applications send
 * a page, and a disk has a word of its own.
 */
const isMissing = (error: unknown): boolean =>
  error instanceof SourceError &&
  (error.status === 404 ||
    error.status === 403 ||
    error.code === 'SOURCE_IS_HTML' ||
    (error.cause as { readonly code?: unknown } | undefined)?.code === 'ENOENT');

/** What the cache is keyed by must not depend on the page. */
const absolute = (folder: string): string =>
  new URL(folder, globalThis.document?.baseURI ?? globalThis.location?.href).href;

function hashes(integrity: PretrainedOptions['integrity']): Readonly<Record<string, string>> {
  if (integrity === undefined) return {};
  const given = typeof integrity === 'string' ? { [WEIGHTS]: integrity } : integrity;
  return Object.fromEntries(
    Object.entries(given).map(([file, text]) => {
      const hash = parseSha256(text);
      if (hash === undefined)
        throw new ConfigError(
          'CONFIG_FIELD',
          `integrity of ${file}: expected a SHA-256, 64 hexadecimal digits or sha256- and base64, found ${JSON.stringify(text).slice(0, 80)}.`,
        );
      return [file, hash];
    }),
  );
}
