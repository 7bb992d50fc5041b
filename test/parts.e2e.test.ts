/** Lazily loaded chunks of the library that fail to download. */
import { readFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { putBuild } from './builds.ts';
import { openChromium } from './chromium.ts';

interface Library {
  readonly DINOv2: { fromFiles(files: object, options: object): Promise<unknown> };
  readonly SourceError: new () => Error;
}

let dist: string;
let server: Server;
let browser: Browser;
beforeAll(async () => {
  dist = mkdtempSync(join(tmpdir(), 'dist-'));
  await putBuild('library', dist);
  server = createServer((request, response) => {
    const name = /^\/dist\/([\w-]+\.js)$/.exec(request.url!)?.[1];
    response.setHeader('content-type', name ? 'text/javascript' : 'text/html');
    response.end(
      name
        ? readFileSync(join(dist, name))
        : '<!doctype html><title>test</title><script type="module">globalThis.library = await import("/dist/index.js")</script>',
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  browser = await openChromium();
});
afterAll(async () => {
  await browser?.close();
  server?.close();
  rmSync(dist, { recursive: true, force: true });
});

test('a chunk that cannot be fetched is a SourceError that says what to do', async () => {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.waitForFunction(() => 'library' in globalThis);
  const load = (): Promise<unknown> =>
    page.evaluate(async () => {
      const { DINOv2, SourceError } = (globalThis as unknown as { library: Library }).library;
      const error = (await DINOv2.fromFiles({ weights: new Uint8Array(4) }, { selfTest: false }).then(
        () => undefined,
        (thrown: unknown) => thrown,
      )) as Error & { code: string };
      return { code: error.code, isSource: error instanceof SourceError, message: error.message };
    });
  await page.route('**/engine.js', (route) => route.abort());
  expect(await load()).toEqual({
    code: 'SOURCE_FETCH',
    isSource: true,
    message: expect.stringMatching(
      /^A file of the library could not be loaded .*engine\.js.*reload the page/,
    ),
  });
  await page.unroute('**/engine.js');
  await page.reload(); // Chromium caches a failed import until the page is reloaded.
  await page.waitForFunction(() => 'library' in globalThis);
  expect(await load()).toMatchObject({ code: 'FILE_TOO_SMALL' });
});
