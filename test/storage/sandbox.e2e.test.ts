/** A page without storage: in a sandboxed frame, every storage API throws. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { putBuild } from '../builds.ts';
import { openChromium } from '../chromium.ts';
import { tiny } from '../demo/site.ts';
import { facebookPreprocessor } from '../loading/preprocessors.ts';

/** Script of the frame. It runs the library and posts the results to the page. */
const script = `
  const told = {};
  const code = async (task) => { try { await task(); return 'no error'; } catch (error) { return error.code ?? String(error); } };
  try {
    const { DINOv2, listCached, removeCached } = await import('/dist/index.js');
    const { EmbeddingIndex, listIndexes, deleteIndex } = await import('/dist/search.js');
    const model = await DINOv2.fromPretrained(location.origin === 'null' ? BASE + 'weights/' : '/weights/');
    told.loaded = model.loaded.cache;
    told.reason = model.loaded.cacheReason;
    told.width = model.config.embedDim;
    told.listed = await listCached();
    told.removed = await removeCached();
    told.open = await code(() => EmbeddingIndex.open('photos', { dim: 4 }));
    told.list = await code(() => listIndexes());
    told.delete = await code(() => deleteIndex('photos'));
  } catch (error) {
    told.error = String(error?.stack ?? error);
  }
  parent.postMessage(told, '*');
`;

let server: Server;
let browser: Browser;
let dist: string;
beforeAll(async () => {
  dist = mkdtempSync(join(tmpdir(), 'dist-'));
  await putBuild('library', dist);
  server = createServer((request, response) => {
    const path = new URL(request.url!, 'http://localhost').pathname;
    const [, folder, name] = /^\/(dist|weights)\/([\w.-]+)$/.exec(path) ?? [];
    response.setHeader('access-control-allow-origin', '*'); // the frame's origin is opaque
    if (path === '/') {
      response.setHeader('content-type', 'text/html');
      return void response.end('<!doctype html><title>test</title>');
    }
    try {
      const bytes =
        name === 'preprocessor_config.json'
          ? facebookPreprocessor
          : readFileSync(join(folder === 'dist' ? dist : tiny, name!));
      response.setHeader('content-type', folder === 'dist' ? 'text/javascript' : 'application/octet-stream');
      response.end(bytes);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  browser = await openChromium();
});
afterAll(async () => {
  await browser?.close();
  server?.close();
  rmSync(dist, { recursive: true, force: true });
});

test('in a sandboxed frame a model loads without a cache and reports why; an index fails with INDEX_STORAGE', async () => {
  const page = await browser.newPage();
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  await page.goto(url);
  const told = await page.evaluate(
    ([base, code]) =>
      new Promise<Record<string, unknown>>((resolve) => {
        addEventListener('message', ({ data }) => resolve(data as Record<string, unknown>), { once: true });
        const frame = document.createElement('iframe');
        frame.sandbox.add('allow-scripts');
        frame.srcdoc = `<!doctype html><base href="${base}"><script type="module">const BASE = ${JSON.stringify(base)};${code}</script>`;
        document.body.append(frame);
      }),
    [url, script.replaceAll("'/dist/", `'${url}dist/`)] as const,
  );
  expect(told).toMatchObject({
    loaded: 'none',
    reason: expect.stringMatching(/origin private file system failed .*Cache API/s),
    width: 128,
    listed: [],
    removed: 0,
    open: 'INDEX_STORAGE',
    list: 'INDEX_STORAGE',
    delete: 'INDEX_STORAGE',
  });
});
