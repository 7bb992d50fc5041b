/**
 * Reads any config.json. This module is loaded only if the config.json differs from those of the published
 * models.
 */
import { readConfigFile } from '../model/configJson.js';
import { withClassifier, type Described } from './described.js';

/** Reads a parsed config.json, see `describe` in configFile.ts. @throws ConfigError */
export const describedBy = (json: unknown): Described => withClassifier(readConfigFile(json), json);
