// Vite plugins that load shaders and WebAssembly text for tests and benchmarks. Published builds also strip
// the shaders' comments.
import { readFile } from 'node:fs/promises';
import wabt from 'wabt';

/** Loads shaders unchanged, so that line numbers in a compiler's messages are right. */
export const plainShaders = {
  name: 'plain-shaders',
  /** @type {'pre'} */
  enforce: 'pre',
  /** @param {string} id */
  load: async (id) =>
    id.endsWith('.wgsl') ? `export default ${JSON.stringify(await readFile(id, 'utf8'))}` : undefined,
};

/** Compiles WebAssembly text (.wat) to its binary, in Base64. */
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
