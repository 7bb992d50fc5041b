/** Chromium with a profile on disk, on an empty page that loads the store from a local server. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BrowserContext, Page } from 'playwright';
import { build } from 'vite';
import { launch as launchChromium, type Profile } from '../../loading/browser.ts';
import type { page as store } from './page.ts';

export interface Here {
  readonly store: typeof store;
}

export interface StoreSite {
  readonly url: string;
  close(): Promise<void>;
}

export async function openStoreSite(): Promise<StoreSite> {
  const outDir = mkdtempSync(join(tmpdir(), 'store-'));
  const entry = fileURLToPath(new URL('page.ts', import.meta.url));
  await build({
    configFile: false,
    logLevel: 'error',
    build: { outDir, target: 'es2023', minify: false, lib: { entry, formats: ['es'], fileName: 'page' } },
  });
  const script = readFileSync(join(outDir, 'page.js'));
  rmSync(outDir, { recursive: true });
  const server = createServer((request, response) => {
    if (request.url === '/page.js')
      response.writeHead(200, { 'content-type': 'text/javascript' }).end(script);
    else
      response
        .writeHead(200, { 'content-type': 'text/html' })
        .end('<!doctype html><title>store</title><script type="module" src="/page.js"></script>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Starts Chromium without a GPU: the store needs none, and the browser starts sooner. */
export const launch = (profile: Profile): Promise<BrowserContext> =>
  launchChromium(profile, ['--no-sandbox', '--disable-gpu']);

export async function openPage(context: BrowserContext, { url }: StoreSite, page?: Page): Promise<Page> {
  const opened = page ?? (await context.newPage());
  await opened.goto(url);
  await opened.waitForFunction(() => 'store' in globalThis);
  return opened;
}
