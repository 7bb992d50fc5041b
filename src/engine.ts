/** What a model loads and computes with. `DINOv2` imports this file when a model is loaded. */
export { Embedder } from './embedder.js';
export { loadFiles, loadPretrained, loadSynthetic } from './load/models.js';
export { Forwards } from './session/forwards.js';
