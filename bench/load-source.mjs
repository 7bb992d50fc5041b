// Loads modules of src/ into Node as they are, without a build: for the benchmarks, which look at what the
// package does not export. With BENCH_LIBRARY, the path of bench/entry.ts as one built file, nothing is
// compiled: for machines that have Node alone.
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

let server;

/**
 * The exports of a module of the repository, by its path from the root: `await source('src/model/vit.ts')`.
 */
export async function source(path) {
  const { createServer } = await import('vite');
  const { plainShaders, webAssembly } = await import('../scripts/text-plugins.mjs');
  server ??= await createServer({
    root,
    configFile: false,
    plugins: [plainShaders, webAssembly],
    optimizeDeps: { noDiscovery: true },
    server: { middlewareMode: true, watch: null, hmr: false, ws: false },
    appType: 'custom',
    logLevel: 'error',
  });
  return server.ssrLoadModule(`/${path}`);
}

/** The library as the benchmarks see it: bench/entry.ts. */
export const library = () =>
  process.env.BENCH_LIBRARY
    ? import(pathToFileURL(process.env.BENCH_LIBRARY).href)
    : source('bench/entry.ts');
