// Loads modules of src/ into Node without a build, because the benchmarks use parts that the package does not
// export. The environment variable BENCH_LIBRARY may hold the path of a bundle of bench/entry.ts (made by
// bundle.mjs). The bundle is then loaded instead of src/, and only Node is needed.
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

let server;

/**
 * Returns the exports of a module, given its path from the repository's root:
 * `await source('src/model/vit.ts')`.
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

/** Returns the exports of bench/entry.ts. */
export const library = () =>
  process.env.BENCH_LIBRARY
    ? import(pathToFileURL(process.env.BENCH_LIBRARY).href)
    : source('bench/entry.ts');
