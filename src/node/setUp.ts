/**
 * Tells the library how Node reaches a GPU, decodes images and keeps files. This happens when
 * `dinov2-webgpu/node` is imported; the import changes no global and loads no package.
 */
import { host } from '../platform/host.js';
import { nodeHost } from './nodeHost.js';

Object.assign(host, nodeHost);
