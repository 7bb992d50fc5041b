/** config.json, and the loader's options that stand in for parts of it. */
import { readAll } from '../checkpoint/sources.js';
import { ConfigError } from '../errors.js';
import { parseConfig, type DINOv2Config, type PosEmbedConvention } from '../model/config.js';
import { isProblemType, type ProblemType } from '../tasks/classifier.js';

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
  /** Names of a classifier's classes by index: `id2label`, or timm's `label_names`. */
  readonly labels?: Readonly<Record<string, unknown>> | undefined;
  /** `problem_type`; transformers takes any other text for none. */
  readonly problemType?: ProblemType | undefined;
  /** What timm's `head` reads: `global_pool`. */
  readonly globalPool?: unknown;
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
  const config = parseConfig(json);
  const { id2label, label_names, problem_type, global_pool } = json as Readonly<Record<string, unknown>>;
  const labels = [id2label, label_names].find((names) => typeof names === 'object' && names !== null);
  return {
    config,
    ...(labels ? { labels: labels as Readonly<Record<string, unknown>> } : {}),
    ...(isProblemType(problem_type) ? { problemType: problem_type } : {}),
    ...(global_pool == null ? {} : { globalPool: global_pool }),
  };
}
