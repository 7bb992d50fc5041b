/** config.json, and the loader's options that stand in for parts of it. */
import { readAll } from '../checkpoint/sources.js';
import { ConfigError } from '../errors.js';
import type { Preprocessing } from '../image/preprocessing.js';
import { parseConfig, type DINOv2Config, type PosEmbedConvention } from '../model/config.js';
import type { ClassLabels } from '../tasks/classifier.js';

/** @throws ConfigError CONFIG_FIELD */
export function checkPosEmbed(posEmbed: PosEmbedConvention): void {
  if (['plain', 'antialias', 'offset'].includes(posEmbed)) return;
  throw new ConfigError(
    'CONFIG_FIELD',
    `posEmbed: expected 'plain', 'antialias' or 'offset', found ${JSON.stringify(posEmbed)}.`,
  );
}

/** @param name of the file, for messages. @throws ConfigError CONFIG_JSON */
export function parseJson(text: string, name = 'config.json'): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ConfigError(
      'CONFIG_JSON',
      `${name}: expected JSON, found ${JSON.stringify(text.slice(0, 40))}. Give the ${name} that lies beside the weights on the hub.`,
      { cause },
    );
  }
}

/** What config.json says of a model. */
export interface Described {
  readonly config?: DINOv2Config | undefined;
  /** Names of a classifier's classes. */
  readonly labels?: ClassLabels | undefined;
  /** What is done to images. Default: DEFAULT_PREPROCESSING. */
  readonly preprocessing?: Preprocessing | undefined;
}

/**
 * The value of a JSON file, as `fromFiles` takes one: its object, its text, or a file of it.
 * @param name of the file, for messages
 * @throws ConfigError CONFIG_JSON, SourceError
 */
export async function readJson(
  given: object | Blob | string,
  name: string,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  if (typeof given === 'string') return parseJson(given, name);
  if (given instanceof Blob)
    return parseJson(new TextDecoder().decode(await readAll(given, { signal })), name);
  return given;
}

/** @throws ConfigError */
export function describedBy(json: unknown): Described {
  const config = parseConfig(json);
  const { id2label } = json as { readonly id2label?: unknown };
  return typeof id2label === 'object' && id2label !== null
    ? { config, labels: id2label as Readonly<Record<string, string>> }
    : { config };
}
