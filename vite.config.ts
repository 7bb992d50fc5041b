/** Modes: `library` and `tools` build what is published, `demo` the pages. Vitest runs without a mode of these. */
import glsl from 'vite-plugin-glsl';
import { defineConfig } from 'vitest/config';
import { plainShaders, webAssembly } from './scripts/text-plugins.mjs';
import { demoBuild, demoPage, offline } from './scripts/vite/demo.ts';
import { libraryBuild, nodeSetUp, sources, threadUrl } from './scripts/vite/library.ts';
import { shell } from './scripts/vite/shell.ts';
import { adaptersFolder, tests } from './scripts/vite/tests.ts';

const testing = process.env['VITEST'] !== undefined;

export default defineConfig(({ mode }) => {
  const shaders = ['library', 'demo', 'tools'].includes(mode) ? glsl({ minify: true }) : plainShaders;
  return {
    plugins: [
      shaders,
      webAssembly,
      demoPage,
      shell,
      offline,
      ...(testing ? [adaptersFolder] : []),
      ...(mode === 'library' ? [threadUrl, nodeSetUp] : []),
    ],
    worker: { format: 'es', plugins: () => [shaders, webAssembly] },
    appType: 'mpa', // a missing file answers 404, not the page
    resolve: { alias: mode === 'development' && !testing ? sources : [] },
    // The projects in examples/ and test/consumers/ have packages of their own, which are not installed here.
    optimizeDeps: { entries: ['demo/**/*.html', 'bench/*.html', 'examples/*.html'] },
    server: { open: false, host: '127.0.0.1' },
    build: mode === 'demo' ? demoBuild : libraryBuild(mode === 'tools'),
    base: mode === 'demo' ? './' : '/',
    test: tests,
  };
});
