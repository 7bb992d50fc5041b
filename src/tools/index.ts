/**
 * What the command line needs of the library, beyond what pages need: built as `dist/tools.js`, no entry
 * point of the package.
 */
export { openCheckpoint, parseShardIndex } from '../checkpoint/shards.js';
export { readAll } from '../checkpoint/sources.js';
export { encodeSafetensors, encodeSafetensorsHeader } from '../checkpoint/safetensors.js';
export { syntheticStream } from '../checkpoint/synthetic.js';
export { huggingFaceTensors } from '../checkpoint/names.js';
export { configOf } from '../model/config.js';
export { configJson } from '../model/configJson.js';
export { parameters } from '../model/parameters.js';
export { describedBy } from '../load/configFile.js';
export { settle } from '../load/settle.js';
export { otherFormat } from '../checkpoint/otherFormats.js';
export { convertCheckpoint, labelsOf } from './convert.js';
export { convertedConfig, convertedPreprocessor } from './convertedConfig.js';
export { describeCheckpoint } from './inspect.js';
export { encodeNpy } from './npy.js';
