import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { playwright } from '@vitest/browser-playwright';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { posix } from 'node:path';
import glsl from 'vite-plugin-glsl';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';
import { chromiumArgs, chromiumPath, vulkanFolder } from './scripts/software-gpu.mjs';
import { plainShaders, webAssembly } from './scripts/text-plugins.mjs';

const testing = process.env['VITEST'] !== undefined;
const executablePath = testing ? await chromiumPath() : '';
const swiftShader = testing ? (vulkanFolder(executablePath) ?? '') : '';

/** Tells browser tests, which have no environment, where to leave the name of their adapter. */
const adaptersFolder = {
  name: 'adapters-folder',
  resolveId: (id: string) => (id === 'virtual:adapters-folder' ? `\0${id}` : undefined),
  load: (id: string) =>
    id === '\0virtual:adapters-folder'
      ? `export default ${JSON.stringify(process.env['TEST_ADAPTER_FOLDER'] ?? '')}`
      : undefined,
};

/** Firefox is not among what `npm test` can bring along: `npm run test:firefox`, where it is installed. */
const firefox = process.env['TEST_FIREFOX'] === '1';

/**
 * The root is the repository, the page is /demo/: whoever opens the address itself is led there, on the dev
 * server and on a static host.
 */
const demoPage: Plugin = {
  name: 'demo-page',
  configureServer(server) {
    server.middlewares.use(toDemo);
    const print = server.printUrls.bind(server);
    server.printUrls = () => {
      print();
      const [url] = server.resolvedUrls?.local ?? [];
      if (url) server.config.logger.info(`  ➜  Demo:    ${new URL('demo/', url).href}`);
    };
  },
  configurePreviewServer: ({ middlewares }) => void middlewares.use(toDemo),
  generateBundle() {
    if (this.environment.config.mode !== 'demo') return;
    const source =
      '<!doctype html><meta charset="utf-8"><title>DINOv2 on WebGPU</title><meta http-equiv="refresh" content="0; url=demo/"><a href="demo/">Demo</a>\n';
    this.emitFile({ type: 'asset', fileName: 'index.html', source });
  },
};

/**
 * What installs the pages and serves them without a network: copied, or made of the list of all files of the
 * build.
 */
const offline: Plugin = {
  name: 'offline',
  apply: 'build',
  async buildStart() {
    if (this.environment.config.mode !== 'demo') return;
    this.emitFile({ type: 'chunk', id: 'demo/sw.ts', fileName: 'demo/sw.js' });
    for (const name of ['manifest.webmanifest', 'favicon.svg', 'icon-192.png', 'icon-512.png']) {
      this.emitFile({
        type: 'asset',
        fileName: `demo/${name}`,
        source: await readFile(posix.join(this.environment.config.root, 'demo', name)),
      });
    }
  },
  generateBundle: {
    order: 'post', // after the pages themselves
    handler(_, bundle) {
      const worker = bundle['demo/sw.js'];
      if (this.environment.config.mode !== 'demo' || worker?.type !== 'chunk') return;
      if (worker.imports.length > 0 || worker.exports.length > 0)
        this.error('demo/sw.ts: expected a script of its own, found imports or exports.');
      const files = Object.values(bundle).filter(
        (file) => file !== worker && file.fileName !== 'index.html' && !isBench(file),
      );
      const hash = createHash('sha256');
      for (const file of files.sort((a, b) => (a.fileName < b.fileName ? -1 : 1)))
        hash
          .update(file.fileName)
          .update('\0')
          .update(file.type === 'chunk' ? file.code : file.source);
      hash.update(worker.code);
      const list = files.map(({ fileName }) =>
        fileName.endsWith('/index.html')
          ? `${posix.relative('demo', posix.dirname(fileName)) || '.'}/`
          : posix.relative('demo', fileName),
      );
      worker.code = `const VERSION = ${JSON.stringify(hash.digest('hex').slice(0, 16))}, FILES = ${JSON.stringify(list)};\n${worker.code}`;
    },
  },
};

/** Of the benchmark's page alone, which wants no cache. */
const isBench = (file: {
  readonly fileName: string;
  readonly type: string;
  readonly facadeModuleId?: string | null;
}): boolean =>
  file.fileName.startsWith('bench/') ||
  /\/bench\//.test(file.facadeModuleId ?? '') ||
  /(^|\/)bench-[^/]*$/.test(file.fileName);

function toDemo({ url }: IncomingMessage, response: ServerResponse, next: () => void): void {
  if (url !== '/' && url !== '/demo') return next();
  response.writeHead(302, { location: '/demo/' }).end();
}

/**
 * The library's page side names its worker in the one form that bundlers and plain modules understand. Vite
 * would make a file of everything that the worker imports, a second copy of the library: until the bundle is
 * written a name of the same length stands there, so that the source map stays true.
 */
const THREAD_URL = "new URL('./worker-thread.js',import.meta.url)";
const threadUrl: Plugin = {
  name: 'thread-url',
  enforce: 'pre',
  transform: (code, id) =>
    id.endsWith('/src/worker/start.ts')
      ? { code: code.replace("new URL('./thread.ts', import.meta.url)", standIn), map: null }
      : undefined,
  generateBundle(_, bundle) {
    for (const chunk of Object.values(bundle))
      if (chunk.type === 'chunk') chunk.code = chunk.code.replaceAll(standIn, THREAD_URL);
  },
};
const standIn = '__thread_url'.padEnd(THREAD_URL.length, '_');

const libraryEntries = {
  index: 'src/index.ts',
  safetensors: 'src/safetensors.ts',
  worker: 'src/worker.ts',
  'worker-thread': 'src/worker/thread.ts',
  search: 'src/search.ts',
};

/**
 * Files that entries and lazy parts share. A bundler drops whole files that a page does not use, so what can be
 * used alone is in a file of its own. Names say what is in a file.
 */
const sharedChunks = [
  { name: 'errors', test: /src\/errors\.ts$/ },
  { name: 'options', test: /src\/option(Names|Object)\.ts$/ },
  { name: 'classifier', test: /src\/tasks\/classifier\.ts$/ },
  { name: 'synthetic', test: /src\/weights\/synthetic\.ts$/ },
  { name: 'cache', test: /src\/cache\// },
  { name: 'storage', test: /src\/(storage\/|platform\/storageGlobal)/ },
  { name: 'pooling', test: /src\/tasks\/pooling\.ts$/ },
  { name: 'support', test: /src\/(support|gpu\/adapter)\.ts$/ },
  { name: 'safetensors-format', test: /src\/safetensors\/(format|headerScanner|reader|writer)\.ts$/ },
  {
    name: 'pca-basis',
    test: /src\/tasks\/pcaBasis\.ts$/,
  },
  {
    name: 'pca',
    test: /src\/(tasks\/(pca\w*|patchMatrix|foreground)|gpu\/kernels\/pcaKernels)\.ts$|shaders\/(shared\/)?pca_\w+\.wgsl$/,
  },
];

/** Tests that need minutes run only when asked: `npm run test:full`. */
const full = process.env['TEST_FULL'] === '1';

export default defineConfig(({ mode }) => {
  const shaders =
    mode === 'library' || mode === 'demo' || mode === 'tools' ? glsl({ minify: true }) : plainShaders;
  return {
    plugins: [
      shaders,
      webAssembly,
      demoPage,
      offline,
      ...(testing ? [adaptersFolder] : []),
      ...(mode === 'library' ? [threadUrl] : []),
    ],
    worker: { format: 'es', plugins: () => [shaders, webAssembly] },
    appType: 'mpa', // a missing file answers 404, not the page
    server: { open: false, host: '127.0.0.1' },
    build:
      mode === 'demo'
        ? // A service worker serves the script of a worker only from beneath its own folder.
          {
            target: 'es2023',
            outDir: 'dist-demo',
            assetsDir: 'demo/assets',
            assetsInlineLimit: 0,
            rolldownOptions: { input: ['demo/index.html', 'demo/search/index.html', 'bench/index.html'] },
          }
        : {
            target: 'es2023',
            sourcemap: mode !== 'tools',
            emptyOutDir: mode !== 'tools', // the command line's part stands beside the library, and shares no file with it
            lib: {
              entry: mode === 'tools' ? { tools: 'src/tools/index.ts' } : libraryEntries,
              formats: ['es'],
            },
            // What entries share are files of their own, named by what is in them: one class of each error,
            // whichever entry it came through.
            rolldownOptions: {
              preserveEntrySignatures: 'allow-extension',
              output: {
                minify: 'dce-only',
                chunkFileNames: '[name].js',
                // The command line's part is one file: it stands beside the library, and must overwrite none of its files.
                codeSplitting: mode !== 'tools' && {
                  includeDependenciesRecursively: false,
                  groups: sharedChunks,
                },
              },
            },
          },
    base: mode === 'demo' ? './' : '/',
    test: {
      reporters: ['default'],
      expect: { poll: { timeout: 30_000 } }, // a second is not enough on a machine that is busy with a compiler
      maxWorkers: Math.max(2, availableParallelism() - 1), // two on two cores: compilers of shaders use one each
      projects: [
        {
          extends: true,
          test: {
            name: 'unit',
            environment: 'node',
            isolate: false, // a process for each file takes a third of the time; test/setup-unit.ts checks what each leaves
            setupFiles: ['test/setup-unit.ts'],
            include: ['test/**/*.test.ts'],
            exclude: ['test/**/*.{gpu,full,browser,full-browser,e2e,full-e2e,firefox}.test.ts'],
            testTimeout: 60_000, // the race detector interprets kernels, once for every barrier
          },
        },
        {
          extends: true,
          test: {
            name: 'dawn',
            environment: 'node',
            pool: 'forks', // process.env of a worker thread never reaches the Vulkan loader
            isolate: false, // one Dawn and its compiled pipelines for many files; test/setup-dawn.ts checks what each leaves
            include: [full ? 'test/**/*.{gpu,full}.test.ts' : 'test/**/*.gpu.test.ts'],
            setupFiles: ['test/setup-dawn.ts'],
            env: { SWIFTSHADER_DIR: swiftShader },
            testTimeout: 600_000, // lavapipe compiles for seconds, and two files at once share two cores
            hookTimeout: 600_000,
          },
        },
        {
          extends: true,
          test: {
            name: 'browser',
            include: [full ? 'test/**/*.{browser,full-browser}.test.ts' : 'test/**/*.browser.test.ts'],
            provide: { full },
            testTimeout: 120_000,
            hookTimeout: 120_000,
            browser: {
              enabled: true,
              headless: true,
              screenshotFailures: false,
              provider: playwright({ launchOptions: { executablePath, args: chromiumArgs } }),
              instances: [{ browser: 'chromium' }],
            },
          },
        },
        ...(firefox
          ? [
              {
                extends: true as const,
                test: {
                  name: 'firefox',
                  environment: 'node' as const,
                  include: ['test/**/*.firefox.test.ts'],
                  testTimeout: 120_000, // the longest takes 60 s where another program has one of two cores
                  hookTimeout: 120_000,
                },
              },
            ]
          : []),
        {
          extends: true,
          test: {
            name: 'demo',
            environment: 'node',
            include: [full ? 'test/**/*.{e2e,full-e2e}.test.ts' : 'test/**/*.e2e.test.ts'],
            env: { CHROMIUM_PATH: executablePath },
            globalSetup: ['test/builds.ts', 'test/chromium.ts'],
            testTimeout: 180_000,
            hookTimeout: 180_000,
          },
        },
      ],
    },
  };
});
