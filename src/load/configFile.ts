/** Reads config.json, and checks the option `posEmbed`, which replaces one value of config.json. */
import { readAll, type ByteSource } from '../io/sources.js';
import { ConfigError, OptionError } from '../errors.js';
import type { PosEmbedConvention } from '../model/config.js';
import { publishedConfig } from '../model/publishedConfig.js';
import type { JsonSource } from '../options.js';
import { parseJsonText } from '../platform/json.js';
import { loadPart } from '../platform/part.js';
import { withClassifier, type Described } from './described.js';

/** Checks the option `posEmbed`. @throws OptionError OPTION_VALUE */
export function checkPosEmbed(posEmbed: PosEmbedConvention): void {
  if (['plain', 'antialias', 'offset'].includes(posEmbed)) return;
  throw new OptionError(
    'OPTION_VALUE',
    `posEmbed: expected 'plain', 'antialias' or 'offset', found ${JSON.stringify(posEmbed)}.`,
  );
}

/** Parses JSON. `name` is the name of the file, for error messages. @throws ConfigError CONFIG_JSON */
export function parseJson(text: string, name = 'config.json'): unknown {
  try {
    return parseJsonText(text);
  } catch (cause) {
    throw new ConfigError(
      'CONFIG_JSON',
      `${name}: expected JSON, found ${JSON.stringify(text.slice(0, 40))} (${String(cause)}). Use the ${name} of the hub.`,
      { cause },
    );
  }
}

/**
 * Reads a JSON file that was passed to `fromFiles`: an object, a text that begins with a brace, or a source
 * of bytes (Blob, file handle, bytes, URL, in Node a path).
 * @param what the file's name, for error messages
 * @throws ConfigError CONFIG_JSON, SourceError; the signal's reason
 */
export async function readJson(
  what: string,
  source: JsonSource,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  if (typeof source === 'string' && /^\s*(\{|$)/.test(source)) return parseJson(source, what);
  return isFile(source)
    ? parseJson(new TextDecoder().decode(await readAll(source, { signal })), what)
    : source;
}

const isFile = (source: JsonSource): source is Exclude<ByteSource, ReadableStream> =>
  typeof source === 'string' ||
  source instanceof URL ||
  source instanceof Blob ||
  source instanceof ArrayBuffer ||
  ArrayBuffer.isView(source) ||
  (typeof source === 'object' && source !== null && 'getFile' in source);

/**
 * Reads a parsed config.json. The parser is loaded only if the file differs from those of the published
 * models.
 * @throws ConfigError
 */
export async function describe(json: unknown): Promise<Described> {
  const config = publishedConfig(json);
  if (config) return withClassifier({ config }, json);
  const { describedBy } = await loadPart(import('./anyConfig.js'));
  return describedBy(json);
}
