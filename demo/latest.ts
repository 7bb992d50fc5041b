export * from './shared/latest.js';
