// node bench/bundle.mjs FILE: bundles bench/entry.ts, the library's parts that the benchmarks use, into one
// file.
import { basename, dirname, resolve } from 'node:path';
import { build } from 'vite';
import { plainShaders, webAssembly } from '../scripts/text-plugins.mjs';
import { root } from './load-source.mjs';

const file = resolve(process.argv[2] ?? 'library.mjs');
await build({
  root,
  configFile: false,
  plugins: [plainShaders, webAssembly],
  logLevel: 'error',
  build: {
    target: 'es2023',
    outDir: dirname(file),
    emptyOutDir: false,
    lib: { entry: 'bench/entry.ts', formats: ['es'], fileName: () => basename(file) },
    minify: false,
  },
});
