/** Loads the files of a checkpoint on a server. */
import type { Manifest } from '../cache/format.js';
import { release } from '../io/chunks.js';
import { locate } from '../io/hub.js';
import type { SourceState } from '../cache/revalidate.js';
import { retryPolicy } from '../io/retry.js';
import { checkDigest, startSha256 } from '../io/integrity.js';
import { openCheckpoint } from '../safetensors/checkpoint.js';
import type { CheckpointFile, ShardIndex } from '../safetensors/checkpointFiles.js';
import { isAbsent, isMissing, isUrl, readAll } from '../io/sources.js';
import type { TensorStream } from '../safetensors/tensorStream.js';
import { OptionError, SourceError } from '../errors.js';
import type { Preprocessing } from '../image/preprocessing.js';
import { baseUrl } from '../platform/baseUrl.js';
import { loadPart } from '../platform/part.js';
import type { PretrainedOptions } from '../options.js';
import { describe, parseJson } from './configFile.js';
import { adviseOn, PREPROCESSOR, preprocessingOfText } from './preprocessorFile.js';
import type { CheckpointSource } from './source.js';

const WEIGHTS = 'model.safetensors';
const CONFIG = 'config.json';
const INDEX = `${WEIGHTS}.index.json`;
/** Size limit in bytes for a shard index. The index of the giant model would have 100 kB. */
const MAX_INDEX_BYTES = 2 ** 24;

/**
 * Creates the source that reads a checkpoint from a server or, in Node, from a folder.
 * @param preprocessing the preprocessing that the caller passes. If it is undefined, the checkpoint's own
 *   preprocessing is used
 * @throws SourceError SOURCE_URL; OptionError OPTION_VALUE, OPTION_NAME
 */
export async function pretrained(
  id: string | URL,
  options: PretrainedOptions,
  preprocessing?: Preprocessing,
): Promise<CheckpointSource> {
  const folder = await locate(id, options);
  const integrity =
    options.integrity === undefined
      ? {}
      : (await loadPart(import('./integrityOption.js'))).hashesOf(options.integrity, WEIGHTS);
  const { fetch, retry, cache = 'auto' } = options;
  retryPolicy(retry); // checks the options even if the load makes no request
  if (!['auto', 'opfs', 'cache-api', 'none'].includes(cache))
    throw new OptionError(
      'OPTION_VALUE',
      `cache: expected 'auto', 'opfs', 'cache-api' or 'none', found ${JSON.stringify(cache)}.`,
    );
  const fixed = /^[0-9a-f]{40}$/.test(options.revision ?? '') || integrity[WEIGHTS] !== undefined;
  const ask =
    options.revalidate === true && !fixed
      ? async (manifest: Manifest, signal: AbortSignal): Promise<SourceState> => {
          const { askSource } = await loadPart(import('../cache/revalidate.js'));
          return askSource(manifest, { signal, fetch });
        }
      : undefined;
  return {
    cache: isUrl(folder)
      ? {
          kind: cache,
          persist: options.persist ?? false,
          ask,
          id: String(id),
          folder: absolute(folder),
          integrity,
        }
      : undefined,
    local: !isUrl(folder),
    preprocessing,
    async open({ signal, onProgress, reload, whole, entry }) {
      const common = { signal, fetch, retry, reload, whole };
      // A resumed download is also checked against the hashes with which the download began.
      const wanted = { ...integrity, ...entry?.kept?.integrity };
      const fileOf = (name: string): CheckpointFile => {
        const [url, hash] = [`${folder}${name}`, wanted[name]];
        return entry ? { name, source: entry.source(name, url, hash) } : { name, source: url, sha256: hash };
      };
      const ending = new AbortController();
      const small = { ...common, signal: signal ? AbortSignal.any([signal, ending.signal]) : ending.signal };
      const fetchSmall = async (name: string, maxBytes?: number): Promise<Uint8Array<ArrayBuffer>> => {
        const bytes = await readAll(`${folder}${name}`, { ...small, maxBytes });
        if (wanted[name] !== undefined) {
          const hash = await startSha256();
          hash.update(bytes);
          checkDigest(name, wanted[name], hash.digest());
        }
        return bytes;
      };
      const readSmall = async (name: string, maxBytes?: number): Promise<Uint8Array> =>
        entry ? entry.text(name, () => fetchSmall(name, maxBytes)) : fetchSmall(name, maxBytes);
      const reading = readPreprocessor(() => readSmall(PREPROCESSOR)); // requested in parallel with the weights
      const explained = async (error: unknown): Promise<unknown> => {
        if (!isMissing(error)) return error;
        return import('./otherFormats.js').then(
          ({ explainMissing }) => explainMissing(folder, error as SourceError, common),
          () => error, // without a network, the original error is reported, without advice
        );
      };
      let stream: TensorStream | undefined;
      try {
        let noConfig: unknown;
        const config = await readSmall(CONFIG).then(
          (bytes) => new TextDecoder().decode(bytes),
          async (error: unknown) => {
            if (!isAbsent(error) || wanted[CONFIG] !== undefined) throw await explained(error);
            noConfig = error; // the tensors' shapes may give the configuration
            return null;
          },
        );
        const json = config === null ? undefined : parseJson(config);
        const described = config === null ? {} : await describe(json);
        const openAll = (names: readonly string[], index?: ShardIndex): Promise<TensorStream> =>
          openCheckpoint(names.map(fileOf), { ...common, onProgress, index });
        let names = [WEIGHTS];
        try {
          stream = await openAll(names);
        } catch (missing) {
          if (!isMissing(missing)) throw missing;
          const index = await readSmall(INDEX, MAX_INDEX_BYTES).catch(async (error: unknown) => {
            throw isMissing(error) ? await explained(noConfig ?? missing) : error;
          });
          const { parseShardIndex } = await loadPart(import('../safetensors/shards.js'));
          const parsed = parseShardIndex(index);
          stream = await openAll(parsed.files, parsed);
          names = [INDEX, ...parsed.files];
        }
        const preprocessor = await reading;
        const unreadable = 'error' in preprocessor ? preprocessor.error : undefined;
        if (unreadable !== undefined && (!preprocessing || wanted[PREPROCESSOR] !== undefined))
          throw adviseOn(unreadable);
        const text = 'text' in preprocessor ? preprocessor.text : null;
        names.push(...(config === null ? [] : [CONFIG]), ...(text === null ? [] : [PREPROCESSOR]));
        const unread = Object.keys(wanted).find((file) => !names.includes(file));
        if (unread !== undefined)
          throw (await loadPart(import('./integrityOption.js'))).notRead(unread, names);
        const uncachedReason =
          unreadable === undefined
            ? undefined
            : `${PREPROCESSOR} could not be read, so a later change of it could not be detected: ${String(unreadable)}`;
        return {
          ...described,
          preprocessing: preprocessing ?? (await preprocessingOfText(text, json)),
          uncachedReason,
          stream,
        };
      } catch (error) {
        ending.abort(error);
        if (stream) release(stream, error);
        throw error;
      }
    },
  };
}

/**
 * Returns the text of preprocessor_config.json, null if the file does not exist, or the error that reading
 * gave. Never rejects.
 */
async function readPreprocessor(
  read: () => Promise<Uint8Array>,
): Promise<{ readonly text: string | null } | { readonly error: unknown }> {
  try {
    return { text: new TextDecoder().decode(await read()) };
  } catch (error) {
    return isMissing(error) ? { text: null } : { error };
  }
}

/**
 * Returns the absolute URL of a folder. The URL identifies a cache entry, so it must not depend on the page's
 * URL.
 */
const absolute = (folder: string): string => new URL(folder, baseUrl()).href;
