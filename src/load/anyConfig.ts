/**
 * Reads any config.json. This module is loaded only if the config.json differs from those of the published
 * models.
 */
import { readConfigFile } from '../model/configJson.js';
import { withClassifier, type Described } from './described.js';

/**
 * Reads a parsed config.json, see `describe` in configFile.ts. timm's argument `global_pool` replaces the field
 * of the same name, as in timm's `create_model`. @throws ConfigError
 */
export function describedBy(json: unknown): Described {
  const described = withClassifier(readConfigFile(json), json);
  const { model_args: args } = json as { readonly model_args?: { readonly global_pool?: unknown } | null };
  const globalPool = described.hints ? (args?.global_pool ?? undefined) : undefined;
  return globalPool === undefined ? described : { ...described, globalPool };
}
