// Serves the folders of built projects, and opens their pages in Chromium. Requests to the hub are answered
// with a tiny checkpoint, so that projects load a published id without a network.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { gzipSync } from 'node:zlib';
import { chromium } from 'playwright';
import { chromiumArgs, chromiumPath, fontsFile } from '../software-gpu.mjs';
import { root } from './package.mjs';

const TYPES = {
  '.css': 'text/css',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.mjs': 'text/javascript',
  '.svg': 'image/svg+xml',
};

/**
 * Serves a folder on a port of its own, so as an origin of its own.
 * @param options `headers`: sent with every file. `replace`: `[text, by]`, replaced in HTML
 * @returns `{ url, close }`
 */
export async function serveFolder(folder, { headers = {}, replace } = {}) {
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
    try {
      let file = join(folder, normalize(path));
      if (statSync(file).isDirectory()) file = join(file, 'index.html');
      let body = readFileSync(file);
      if (replace && file.endsWith('.html')) body = String(body).replaceAll(...replace);
      response.writeHead(200, {
        'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
        ...headers,
      });
      response.end(body);
    } catch {
      response.writeHead(404, headers).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/**
 * Starts Chromium with the fonts that it is shipped with: without any, it ends when it draws a file input.
 * @param folder receives the description of the fonts
 */
export async function startBrowser(folder) {
  const executablePath = await chromiumPath();
  const env = { ...process.env, FONTCONFIG_FILE: fontsFile(folder, executablePath) };
  return chromium.launch({ executablePath, args: chromiumArgs, env });
}

const checkpoint = join(root, 'test/fixtures/reference/tiny-plain');

/** Answers the requests of a context to the hub with a tiny checkpoint without preprocessor_config.json. */
export const answerHub = (context) =>
  context.route('https://huggingface.co/**', (route) => {
    const name = new URL(route.request().url()).pathname.split('/').at(-1);
    const headers = { 'access-control-allow-origin': '*' };
    return ['config.json', 'model.safetensors'].includes(name)
      ? route.fulfill({ body: readFileSync(join(checkpoint, name)), headers })
      : route.fulfill({ status: 404, headers });
  });

/**
 * Opens a page of a project and waits for the results that it shows.
 * @returns the text of the elements `page` and `worker`: `ok`, or the error
 */
export async function resultsOf(browser, url, timeoutMs = 60_000) {
  const context = await browser.newContext();
  try {
    await answerHub(context);
    const page = await context.newPage();
    const errors = [];
    page.on('pageerror', (error) => errors.push(String(error)));
    await page.goto(url);
    const read = async (id) => {
      // Looked up each time: a development server may reload the page.
      const text = page.locator(`#${id}`).filter({ hasText: /\S/ });
      try {
        await text.waitFor({ state: 'attached', timeout: timeoutMs });
        return await text.textContent();
      } catch {
        return `no result. ${errors.join(' ')}`;
      }
    };
    return { page: await read('page'), worker: await read('worker') };
  } finally {
    await context.close();
  }
}

/** Sums up the bytes of all scripts in a folder. */
export function bytesOf(dir) {
  const files = readdirSync(dir, { recursive: true, encoding: 'utf8' }).filter((path) =>
    /\.m?js$/.test(path),
  );
  const texts = files.map((path) => readFileSync(join(dir, path)));
  const sum = (sizes) => sizes.reduce((total, size) => total + size, 0);
  return {
    bytes: sum(texts.map((text) => text.length)),
    gzipBytes: sum(texts.map((text) => gzipSync(text).length)),
  };
}
