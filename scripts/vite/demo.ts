/** Vite configuration of the demo: its pages, its service worker and the dev server. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BuildEnvironmentOptions, Plugin } from 'vite';
import { pages } from './shell.ts';

/** The pages of the demo, as paths in the repository. */
const pagePaths = Object.values(pages)
  .map((folder) => `demo/${folder}`)
  .filter((path) => existsSync(fileURLToPath(new URL(`../../${path}index.html`, import.meta.url))));

/** Build options of the demo and of the benchmark page. */
export const demoBuild: BuildEnvironmentOptions = {
  target: 'es2023',
  outDir: 'dist-demo',
  assetsDir: 'demo/assets', // a service worker serves only files beneath its own folder
  assetsInlineLimit: 0,
  rolldownOptions: { input: [...pagePaths, 'bench/'].map((path) => `${path}index.html`) },
};

const nameOf = (path: string): string => {
  const [page = 'benchmark'] = Object.entries(pages).find(([, folder]) => `demo/${folder}` === path) ?? [];
  return page === 'runs' ? 'What runs' : `${page[0]!.toUpperCase()}${page.slice(1)}`;
};

/**
 * Redirects / to /demo/, on the dev server and on a static host, because / is the repository's root folder.
 */
export const demoPage: Plugin = {
  name: 'demo-page',
  configureServer(server) {
    server.middlewares.use(toDemo);
    const print = server.printUrls.bind(server);
    server.printUrls = () => {
      print();
      const [url] = server.resolvedUrls?.local ?? [];
      if (!url) return;
      for (const path of [...pagePaths, 'bench/'])
        server.config.logger.info(`  ➜  ${`${nameOf(path)}:`.padEnd(11)}${new URL(path, url).href}`);
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
 * Builds the service worker, which serves the pages without a network. Prepends a version and the list of
 * all files to its code. Also copies the web app's manifest and icons.
 */
export const offline: Plugin = {
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
    order: 'post', // runs after the pages are built, so that the list of files includes them
    handler(_, bundle) {
      const worker = bundle['demo/sw.js'];
      if (this.environment.config.mode !== 'demo' || worker?.type !== 'chunk') return;
      if (worker.imports.length > 0 || worker.exports.length > 0)
        this.error('demo/sw.ts: the built service worker must not have imports or exports.');
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

/** True if a file belongs only to the benchmark page, which is not cached. */
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
