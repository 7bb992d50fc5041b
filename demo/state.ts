export * from './shared/modelChoice.js';
export * from './shared/picture.js';
