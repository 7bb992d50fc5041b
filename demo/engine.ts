export { loadModel } from './shared/loading.js';
