// Loads modules of src/ into Node as they are, without a build: for the benchmarks, which look at what the package does not export.
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createServer } from 'vite';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

const plainShaders = {
  name: 'plain-shaders',
  enforce: 'pre',
  load: async (id) => (id.endsWith('.wgsl') ? `export default ${JSON.stringify(await readFile(id, 'utf8'))}` : undefined),
};

const server = await createServer({
  root,
  configFile: false,
  plugins: [plainShaders],
  optimizeDeps: { noDiscovery: true },
  server: { middlewareMode: true, watch: null, hmr: false, ws: false },
  appType: 'custom',
  logLevel: 'error',
});

/** The exports of a module of the repository, by its path from the root: `await source('src/model/vit.ts')`. */
export const source = (path) => server.ssrLoadModule(`/${path}`);
