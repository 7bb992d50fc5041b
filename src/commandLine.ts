/**
 * Functions for the command line. They are built as `dist/tools.js`, which is not an entry point of the
 * package.
 */
export { openCheckpoint } from './safetensors/checkpoint.js';
export { parseShardIndex } from './safetensors/shards.js';
export { readAll } from './io/sources.js';
export { encodeSafetensors, encodeSafetensorsHeader } from './safetensors.js';
export { syntheticStream } from './weights/synthetic.js';
export { huggingFaceTensors } from './weights/huggingFace.js';
export { configOf } from './model/config.js';
export { configJson } from './model/configJson.js';
export { parameters } from './model/parameters.js';
export { describedBy } from './load/anyConfig.js';
export { settleAny } from './load/anyCheckpoint.js';
export { otherFormat } from './load/otherFormats.js';
export { convertCheckpoint, labelsOf } from './tools/convert.js';
export { convertedConfig, convertedPreprocessor } from './tools/convertedConfig.js';
export { describeCheckpoint } from './tools/inspect.js';
export { encodeNpy } from './tools/npy.js';
export { readFolderIndex, SETTINGS } from './node/index/settings.js';
export { baseOfPattern } from './node/files.js';
