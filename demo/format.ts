export * from './shared/format.js';
