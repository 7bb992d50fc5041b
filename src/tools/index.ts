/**
 * What the command line needs of the library, beyond what pages need: built as `dist/tools.js`, no entry
 * point of the package.
 */
export { openCheckpoint, parseShardIndex } from '../checkpoint/shards.js';
export { readAll } from '../checkpoint/sources.js';
export { encodeSafetensors, encodeSafetensorsHeader } from '../checkpoint/safetensors.js';
export { syntheticStream } from '../checkpoint/synthetic.js';
export { huggingFaceTensors } from '../checkpoint/names.js';
export { configJson, configOf, inferConfig } from '../model/config.js';
export { parameters } from '../model/parameters.js';
export { readQuantized } from '../checkpoint/quantized.js';
export { convertCheckpoint } from './convert.js';
export { describeCheckpoint } from './inspect.js';
export { encodeNpy } from './npy.js';
