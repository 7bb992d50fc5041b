// The published package: its parts, the side effects of importing it, and the example page of
// docs/guide/getting-started.md, which must work when pasted.
import { execFileSync } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { putBuild } from './builds.ts';
import { openChromium } from './chromium.ts';
import { facebookPreprocessor } from './loading/preprocessors.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const tiny = join(root, 'test/fixtures/reference/tiny-plain');
const guide = readFileSync(join(root, 'docs/guide/getting-started.md'), 'utf8');

let dist: string;
beforeAll(async () => {
  dist = mkdtempSync(join(tmpdir(), 'dist-'));
  await putBuild('library', dist);
});
afterAll(() => rmSync(dist, { recursive: true, force: true }));

/** A built file and everything it imports, directly or indirectly. */
function closureOf(entry: string, found = new Set<string>()): Set<string> {
  if (found.has(entry)) return found;
  found.add(entry);
  for (const [, name] of readFileSync(join(dist, entry), 'utf8').matchAll(
    /(?:from|import)\s*["'`]\.\/([\w-]+\.js)["'`]/g,
  ))
    closureOf(name!, found);
  return found;
}
test('search is a separate file that the main entry does not import', () => {
  expect(closureOf('index.js')).not.toContain('search.js');
});

test('the page side of the worker imports no engine code; the worker thread imports the library', () => {
  const page = closureOf('worker.js');
  for (const name of ['index.js', 'engine.js', 'kernels.js', 'pca.js']) expect(page).not.toContain(name);
  expect(closureOf('worker-thread.js')).toContain('index.js');
  expect([...page].map((name) => readFileSync(join(dist, name), 'utf8')).join('\n')).toMatch(
    /new Worker\(new URL\('\.\/worker-thread\.js',import\.meta\.url\), ?\{\s*type:/,
  ); // the exact form that bundlers recognize
});

test('the safetensors entry imports only errors.js and the format, and loads in plain Node', () => {
  const reader = closureOf('safetensors.js');
  expect([...reader].sort()).toEqual([
    'errors.js',
    'rolldown-runtime.js',
    'safetensors-format.js',
    'safetensors-reader.js',
    'safetensors-writer.js',
    'safetensors.js',
  ]);
  expect(readFileSync(join(dist, 'safetensors.js'), 'utf8')).not.toMatch(/\bimport\(/);
  const script = `const { parseSafetensors } = await import(${JSON.stringify(join(dist, 'safetensors.js'))});
    const { readFileSync } = await import('node:fs');
    console.log(parseSafetensors(readFileSync(${JSON.stringify(join(tiny, 'model.safetensors'))})).tensors.size);`;
  expect(
    execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }).trim(),
  ).toBe('43');
});

test('all entries share the same error classes', () => {
  const script = `const [a, b, c] = await Promise.all(${JSON.stringify(['index.js', 'safetensors.js', 'worker.js'].map((name) => join(dist, name)))}.map((file) => import(file)));
    let error;
    try { b.parseSafetensors(new Uint8Array(2)); } catch (thrown) { error = thrown; }
    console.log(error instanceof a.SafetensorsError, a.SafetensorsError === c.SafetensorsError, a.DeviceError === c.DeviceError, error.name);`;
  expect(
    execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }).trim(),
  ).toBe('true true true SafetensorsError');
});

test('importing the library without WebGPU adds no global', () => {
  const script = `const before = Object.keys(globalThis).length;
    const library = await import(${JSON.stringify(join(dist, 'index.js'))});
    await import(${JSON.stringify(join(dist, 'worker.js'))});
    const support = await library.checkSupport();
    console.log(Object.keys(globalThis).length - before, support.ok, support.code);`;
  expect(
    execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }).trim(),
  ).toBe('0 false WEBGPU_MISSING');
});

test('the page of the guide works when pasted', async () => {
  const page = guide.match(/```html\n(<!doctype[\s\S]*?)```/)![1]!;
  const server: Server = createServer((request, response) => {
    const path = new URL(request.url!, 'http://localhost').pathname;
    const script = path.match(/^\/node_modules\/dinov2-webgpu\/dist\/([\w-]+\.js)$/)?.[1];
    response.setHeader('content-type', script ? 'text/javascript' : 'text/html; charset=utf-8');
    if (path === '/') response.end(page);
    else if (script) response.end(readFileSync(join(dist, script)));
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  let browser: Browser | undefined;
  try {
    browser = await openChromium();
    const tab = await browser.newPage();
    const complaints: string[] = [];
    tab.on('pageerror', (error) => void complaints.push(String(error)));
    // Serves a tiny checkpoint in place of the facebook/dinov2-small files that the page downloads.
    await tab.route('https://huggingface.co/facebook/dinov2-small/resolve/main/*', (route) => {
      const name = new URL(route.request().url()).pathname.split('/').at(-1)!;
      return route.fulfill({
        body: name === 'preprocessor_config.json' ? facebookPreprocessor : readFileSync(join(tiny, name)),
        headers: { 'access-control-allow-origin': '*' },
      });
    });
    await tab.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await tab.waitForFunction(
      () => document.querySelector('#status')!.textContent === 'Choose a photograph.',
      undefined,
      { timeout: 60_000 },
    );
    await tab.locator('input').setInputFiles(join(root, 'demo/photos/chelsea.png'));
    await tab.waitForFunction(
      () => /^25 × 37 patches of 128 numbers$/.test(document.querySelector('#status')!.textContent!),
      undefined,
      { timeout: 60_000 },
    );
    const distinct = await tab.evaluate(() => {
      const canvas = document.querySelector('canvas')!;
      const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
      return new Set(new Uint32Array(data.buffer)).size;
    });
    expect(distinct).toBeGreaterThan(50);
    expect(complaints).toEqual([]);
  } finally {
    await browser?.close();
    server.close();
  }
});
