/**
 * Exports the code that loads and computes models. `DINOv2` imports this module when the first model is
 * loaded.
 */
export { Embedder } from './embedder.js';
export { loadFiles, loadPretrained, loadSynthetic } from './load/models.js';
export { Sessions } from './session/sessions.js';
