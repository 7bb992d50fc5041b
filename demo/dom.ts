export * from './shared/dom.js';
