// Vite plugins for what the library imports beside TypeScript, as the tests and benchmarks want it: the
// builds that are published strip the shaders' comments instead.
import { readFile } from 'node:fs/promises';
import wabt from 'wabt';

/** Shaders as they are written, so that the line numbers of a compiler are true. */
export const plainShaders = {
  name: 'plain-shaders',
  /** @type {'pre'} */
  enforce: 'pre',
  /** @param {string} id */
  load: async (id) =>
    id.endsWith('.wgsl') ? `export default ${JSON.stringify(await readFile(id, 'utf8'))}` : undefined,
};

/** WebAssembly's text becomes its binary, in Base64. */
export const webAssembly = {
  name: 'web-assembly',
  /** @type {'pre'} */
  enforce: 'pre',
  /** @param {string} id */
  async load(id) {
    if (!id.endsWith('.wat')) return undefined;
    const module = (await wabt()).parseWat(id, await readFile(id, 'utf8'), { simd: true });
    try {
      return `export default ${JSON.stringify(Buffer.from(module.toBinary({}).buffer).toString('base64'))}`;
    } finally {
      module.destroy();
    }
  },
};
