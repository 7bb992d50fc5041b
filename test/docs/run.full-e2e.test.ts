// Runs the code blocks of README.md and docs/guide: in Chromium, in Node and in a shell, with tiny checkpoints
// in place of the published ones.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { chromiumPath, vulkanFolder } from '../../scripts/software-gpu.mjs';
import { encodeSafetensors, parseSafetensors } from '../../src/safetensors.ts';
import { putBuild } from '../builds.ts';
import { openChromium } from '../chromium.ts';
import { fakeHub, tinyCheckpoint } from '../examples/hub.ts';
import { assignments, blocksOf, pages, placeOf, type Block } from './blocks.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const run = pages.flatMap(blocksOf).filter((block) => block.notRun === undefined);
const inPlace = (place: string): Block[] => run.filter((block) => placeOf(block) === place);
const where = ({ page, line }: Block): string => `${page}:${line}`;

/** A folder in which the package is installed. */
let folder: string;
let server: Server;
let url: string;
let browser: Browser;

const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript',
  '.html': 'text/html; charset=utf-8',
};
const html = `<!doctype html><title>Blocks</title>
<link rel="icon" href="data:," />
<img src="/photos/cat.jpg" /><canvas id="canvas"></canvas><canvas id="live"></canvas>
<script type="importmap">${JSON.stringify({
  imports: {
    'dinov2-webgpu': '/node_modules/dinov2-webgpu/dist/index.js',
    ...Object.fromEntries(
      ['search', 'worker', 'safetensors'].map((name) => [
        `dinov2-webgpu/${name}`,
        `/node_modules/dinov2-webgpu/dist/${name}.js`,
      ]),
    ),
    three: '/three/three.module.js',
    'three/webgpu': '/three/three.webgpu.js',
  },
})}</script>`;

/** Files of the server: the package, photographs, a checkpoint, three.js. */
function fileOf(path: string): string | undefined {
  const [, first = '', rest = ''] = /^\/([^/]+)\/(.*)$/.exec(path) ?? [];
  if (first === 'node_modules') return join(folder, path);
  if (first === 'photos') return join(root, 'demo/photos/chelsea.png');
  if (first === 'three') return join(root, 'site/node_modules/three/build', rest);
  return existsSync(join(folder, 'pages', path)) ? join(folder, 'pages', path) : undefined;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'blocks-'));
  const installed = join(folder, 'node_modules/dinov2-webgpu');
  for (const mode of ['library', 'tools'] as const) await putBuild(mode, join(installed, 'dist'));
  for (const name of ['package.json', 'bin'])
    cpSync(join(root, name), join(installed, name), { recursive: true });
  for (const name of ['webgpu', 'sharp'])
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
  mkdirSync(join(folder, 'pages'));
  server = createServer((request, response) => {
    const path = new URL(request.url!, 'http://localhost').pathname;
    const file = path === '/' ? undefined : fileOf(path);
    if (path === '/') return void response.setHeader('content-type', TYPES['.html']!).end(html);
    if (!file || !existsSync(file)) return void response.writeHead(404).end();
    response.setHeader('content-type', TYPES[extname(file)] ?? 'application/octet-stream');
    response.end(readFileSync(file));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  browser = await openChromium();
});

afterAll(async () => {
  await browser?.close();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

/**
 * Prepares a page: what the texts presuppose (`file`, `image`, `canvas`, …), and `runBlock`, which runs a
 * block with the variables of the blocks before it.
 */
async function prepare(files: Readonly<Record<string, string>>): Promise<void> {
  const fetched = async (path: string, name: string): Promise<File> =>
    new File([await (await fetch(path)).blob()], name, { type: 'image/png' });
  const bytes = (base64: string): Uint8Array<ArrayBuffer> =>
    Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
  const weights = Object.fromEntries(
    Object.entries(files).map(([name, base64]) => [name, new File([bytes(base64)], name)]),
  );
  const [file, fileA, fileB] = await Promise.all(
    ['cat.png', 'a.png', 'b.png'].map((name) => fetched('/photos/cat.jpg', name)),
  );
  const image = document.querySelector('img')!;
  await image.decode();
  // Vite would replace an import that it sees.
  const load = new Function('name', 'return import(name)') as (name: string) => Promise<object>;
  const library = await load('dinov2-webgpu');
  const search = await load('dinov2-webgpu/search');
  const scope: Record<string | symbol, unknown> = {
    ...library,
    ...search,
    file,
    fileA,
    fileB,
    files: [fileA, fileB],
    images: [fileA, fileB],
    image,
    canvas: document.querySelector('#canvas'),
    ...weights,
    show: () => undefined,
    shown: [],
    load,
    onProgress: () => undefined,
    signal: new AbortController().signal,
  };
  const isDeclared = new Set(Object.keys(scope));
  const variables = new Proxy(scope, {
    has: (target, key) =>
      typeof key === 'string' &&
      key !== 'variables' &&
      (isDeclared.has(key) || key in target || !(key in globalThis)),
    get: (target, key) => {
      if (typeof key === 'string' && !(key in target)) throw new ReferenceError(`${key} is not defined`);
      return target[key];
    },
  });
  // A folder of photographs, in place of one that the visitor chooses.
  Object.assign(globalThis, {
    showDirectoryPicker: async () => {
      const origin = await navigator.storage.getDirectory();
      const folder = await origin.getDirectoryHandle('photos', { create: true });
      const handle = await folder.getFileHandle('cat.png', { create: true });
      const writable = await handle.createWritable();
      await writable.write(file!);
      await writable.close();
      return folder;
    },
    runBlock: async (names: readonly string[], code: string) => {
      for (const name of names) isDeclared.add(name);
      for (const name of names) if (!(name in scope)) scope[name] = undefined;
      await new Function('variables', `with (variables) { ${code}\nreturn block(); }`)(variables);
    },
  });
}

/**
 * Files of weights that the texts speak of, as Base64: `plain`, a model; `teacher`, a student and a teacher in
 * one file; `head`, a classifier alone.
 */
function weightsFiles(): Record<string, string> {
  type Tensors = [string, { dtype: string; shape: readonly number[]; data: Uint8Array }][];
  const read = (file: Buffer): Tensors =>
    [...parseSafetensors(file).tensors].map(([name, { dtype, shape, begin, end }]) => [
      name,
      { dtype, shape, data: file.subarray(begin, end) },
    ]);
  const plain = tinyCheckpoint('tiny-plain').get('model.safetensors')!;
  const both = ['student', 'teacher'].flatMap((model) =>
    read(plain).map(([name, tensor]) => [`${model}.backbone.${name}`, tensor] as Tensors[number]),
  );
  const head = read(tinyCheckpoint('tiny-plain', { classifier: true }).get('model.safetensors')!)
    .filter(([name]) => name.startsWith('classifier.'))
    .map(([name, tensor]) => [name.replace('classifier.', ''), tensor] as Tensors[number]);
  const base64 = (tensors: Tensors): string =>
    Buffer.from(encodeSafetensors(tensors as Parameters<typeof encodeSafetensors>[0])).toString('base64');
  return { plain: plain.toString('base64'), teacher: base64(both), head: base64(head) };
}

declare global {
  var runBlock: (names: readonly string[], code: string) => Promise<void>;
}

test.each([...new Set(inPlace('browser').map(({ page }) => page))])('%s in Chromium', async (page) => {
  const context = await browser.newContext({ permissions: ['camera'] });
  try {
    await fakeHub(context);
    const tab = await context.newPage();
    const complaints: string[] = [];
    tab.on('pageerror', (error) => void complaints.push(String(error)));
    await tab.goto(url);
    await tab.evaluate(prepare, weightsFiles());
    const failures: string[] = [];
    for (const block of inPlace('browser').filter((each) => each.page === page))
      for (const text of [block.before, block.text]) {
        const { names, code } = assignments(text);
        await tab
          .evaluate(([all, body]) => globalThis.runBlock(all, body), [names, code] as const)
          .catch((error: Error) => failures.push(`${where(block)}: ${error.message.split('\n')[0]}`));
      }
    expect(failures).toEqual([]);
    expect(complaints).toEqual([]);
  } finally {
    await context.close();
  }
});

test.each(inPlace('page').filter(({ text }) => !text.startsWith('<!doctype')))(
  '$page:$line as a page, from a CDN',
  async (block) => {
    writeFileSync(join(folder, 'pages', `${block.line}.html`), `<!doctype html>\n${block.text}`);
    const context = await browser.newContext();
    try {
      await context.route('https://cdn.jsdelivr.net/npm/dinov2-webgpu@*/**', (route) =>
        route.fulfill({
          body: readFileSync(
            join(
              folder,
              'node_modules/dinov2-webgpu/dist',
              basename(new URL(route.request().url()).pathname),
            ),
          ),
          headers: { 'content-type': 'text/javascript', 'access-control-allow-origin': '*' },
        }),
      );
      const tab = await context.newPage();
      const logged = tab.waitForEvent('console', { timeout: 60_000 });
      await tab.goto(`${url}${block.line}.html`);
      const [support] = (await logged).args();
      expect(await support!.jsonValue()).toMatchObject({ ok: true });
    } finally {
      await context.close();
    }
  },
);

/** A block may start the command line several times. */
const BLOCK_TIMEOUT_MS = 300_000;

/** Runs a program in the folder, with SwiftShader as the GPU. */
async function inFolder(command: string, args: readonly string[]): Promise<string> {
  const drivers = vulkanFolder(await chromiumPath())!;
  const done = spawnSync(command, args, {
    cwd: folder,
    encoding: 'utf8',
    env: {
      ...process.env,
      HF_HUB_CACHE: join(folder, 'hub'),
      VK_DRIVER_FILES: join(drivers, 'vk_swiftshader_icd.json'),
      LD_LIBRARY_PATH: `${drivers}:${process.env['LD_LIBRARY_PATH'] ?? ''}`,
      PATH: `${join(folder, 'node_modules/.bin')}:${process.env['PATH']}`,
    },
    timeout: BLOCK_TIMEOUT_MS,
  });
  if (done.status !== 0) throw new Error(`status ${done.status}: ${done.stderr.slice(-2000)}`);
  return done.stdout;
}

/** What the texts about Node presuppose: photographs, and a checkpoint in Python's cache. */
function furnish(): void {
  for (const [name, photo] of Object.entries({ 'cat.jpg': 'rocket.jpg', 'photos/a.jpg': 'rocket.jpg' })) {
    mkdirSync(join(folder, name, '..'), { recursive: true });
    cpSync(join(root, 'demo/photos', photo), join(folder, name));
  }
  const snapshot = join(
    folder,
    'hub/models--facebook--dinov2-small/snapshots/0123456789abcdef0123456789abcdef01234567',
  );
  const refs = join(folder, 'hub/models--facebook--dinov2-small/refs');
  for (const each of [snapshot, refs, join(folder, 'dinov2-small')]) mkdirSync(each, { recursive: true });
  writeFileSync(join(refs, 'main'), basename(snapshot));
  for (const [name, buffer] of tinyCheckpoint('tiny-plain'))
    for (const each of [snapshot, join(folder, 'dinov2-small')]) writeFileSync(join(each, name), buffer);
}

const ofExport = ({ page }: Block): boolean => page === 'docs/guide/export.md';

test.each(inPlace('node').filter((block) => !ofExport(block)))(
  '$page:$line in Node',
  async (block) => {
    furnish();
    const file = join(folder, 'block.mjs');
    writeFileSync(file, `${block.before}\n${block.text}`);
    await inFolder(process.execPath, [file]);
  },
  BLOCK_TIMEOUT_MS,
);

test.each(inPlace('shell'))(
  '$page:$line in a shell',
  async ({ text }) => {
    furnish();
    const bin = join(folder, 'node_modules/.bin/dinov2-webgpu');
    mkdirSync(join(bin, '..'), { recursive: true });
    if (!existsSync(bin)) symlinkSync('../dinov2-webgpu/bin/dinov2-webgpu.mjs', bin);
    chmodSync(bin, 0o755); // as npm does
    await inFolder('bash', ['-euc', text]);
  },
  BLOCK_TIMEOUT_MS,
);
