/** Reads any config.json. Loaded only for one that is not a published model's. */
import { readConfigFile } from '../model/configJson.js';
import { withClassifier, type Described } from './described.js';

/** Reads a parsed config.json, see `describe`. @throws ConfigError */
export const describedBy = (json: unknown): Described => withClassifier(readConfigFile(json), json);
