// Loads modules of src/ into Node as they are, without a build: for the benchmarks, which look at what the package does not export.
// With BENCH_LIBRARY, the path of bench/entry.ts as one built file, nothing is compiled: for machines that have Node alone.
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Shaders as they are written. */
export const plainShaders = {
  name: 'plain-shaders',
  enforce: 'pre',
  load: async (id) => (id.endsWith('.wgsl') ? `export default ${JSON.stringify(await readFile(id, 'utf8'))}` : undefined),
};

let server;

/** The exports of a module of the repository, by its path from the root: `await source('src/model/vit.ts')`. */
export async function source(path) {
  const { createServer } = await import('vite');
  server ??= await createServer({
    root,
    configFile: false,
    plugins: [plainShaders],
    optimizeDeps: { noDiscovery: true },
    server: { middlewareMode: true, watch: null, hmr: false, ws: false },
    appType: 'custom',
    logLevel: 'error',
  });
  return server.ssrLoadModule(`/${path}`);
}

/** The library as the benchmarks see it: bench/entry.ts. */
export const library = () => (process.env.BENCH_LIBRARY ? import(pathToFileURL(process.env.BENCH_LIBRARY).href) : source('bench/entry.ts'));
