/** config.json, and the loader's options that stand in for parts of it. */
import { readAll } from '../checkpoint/sources.js';
import { ConfigError } from '../errors.js';
import type { DINOv2Config, PosEmbedConvention } from '../model/config.js';
import { readConfigFile, type ConfigHints } from '../model/configJson.js';
import type { ClassLabels } from '../tasks/classifier.js';

/** @throws ConfigError CONFIG_FIELD */
export function checkPosEmbed(posEmbed: PosEmbedConvention): void {
  if (['plain', 'antialias', 'offset'].includes(posEmbed)) return;
  throw new ConfigError(
    'CONFIG_FIELD',
    `posEmbed: expected 'plain', 'antialias' or 'offset', found ${JSON.stringify(posEmbed)}.`,
  );
}

export function parseJson(bytes: Uint8Array): unknown {
  const text = new TextDecoder().decode(bytes);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ConfigError(
      'CONFIG_JSON',
      `config.json: expected JSON, found ${JSON.stringify(text.slice(0, 40))}. Give the config.json that lies beside the weights on the hub.`,
      { cause },
    );
  }
}

/** What config.json says of a model. */
export interface Described {
  readonly config?: DINOv2Config | undefined;
  /** Where it leaves the configuration to the tensors' shapes. */
  readonly hints?: ConfigHints | undefined;
  /** Names of a classifier's classes. */
  readonly labels?: ClassLabels | undefined;
}

/** From what `fromFiles` takes. @throws ConfigError, SourceError */
export async function readConfig(
  config: object | Blob | string | undefined,
  signal: AbortSignal | undefined,
): Promise<Described | undefined> {
  if (config === undefined) return undefined;
  if (typeof config === 'string') return describedBy(parseJson(new TextEncoder().encode(config)));
  if (config instanceof Blob) return describedBy(parseJson(await readAll(config, { signal })));
  return describedBy(config);
}

/** @throws ConfigError */
export function describedBy(json: unknown): Described {
  const file = readConfigFile(json);
  const { id2label } = json as { readonly id2label?: unknown };
  return typeof id2label === 'object' && id2label !== null
    ? { ...file, labels: id2label as Readonly<Record<string, string>> }
    : file;
}
