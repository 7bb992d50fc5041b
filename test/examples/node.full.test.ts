// The scripts of examples/node, with the built library and a tiny checkpoint in place of the hub's.
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PNG } from 'pngjs';
import { build } from 'vite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tinyCheckpoint } from './hub.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const photos = join(root, 'demo/photos');
let folder: string;
let hub: Server;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'node-examples-'));
  cpSync(join(root, 'examples/node'), folder, { recursive: true });
  const library = join(folder, 'node_modules/dinov2-webgpu');
  mkdirSync(library, { recursive: true });
  cpSync(join(root, 'package.json'), join(library, 'package.json'));
  await build({
    root,
    mode: 'library',
    configFile: join(root, 'vite.config.ts'),
    logLevel: 'error',
    build: { outDir: join(library, 'dist') },
  });
  symlinkSync(join(root, 'node_modules/webgpu'), join(folder, 'node_modules/webgpu'));
  const files = tinyCheckpoint('tiny-plain');
  hub = createServer((request, response) => {
    const body = files.get(request.url!.split(/[/?]/).findLast((part) => files.has(part)) ?? '');
    response.writeHead(body ? 200 : 404).end(body);
  });
  await new Promise<void>((resolve) => hub.listen(0, '127.0.0.1', resolve));
});

afterAll(() => {
  hub?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a script, and returns what it printed to stdout. */
async function run(script: string, ...args: string[]): Promise<string> {
  const loaders = [process.env['SWIFTSHADER_DIR'], process.env['LD_LIBRARY_PATH']].filter(Boolean).join(':');
  const child = spawn(process.execPath, [script, ...args], {
    cwd: folder,
    env: {
      ...process.env,
      LD_LIBRARY_PATH: loaders,
      HF_ENDPOINT: `http://127.0.0.1:${(hub.address() as AddressInfo).port}`,
      HF_HOME: join(folder, 'hub'),
      XDG_CACHE_HOME: join(folder, 'cache'),
    },
  });
  let [printed, errors] = ['', ''];
  child.stdout.on('data', (data) => (printed += String(data)));
  child.stderr.on('data', (data) => (errors += String(data)));
  const code = await new Promise((resolve) => child.on('close', resolve));
  expect(code, errors).toBe(0);
  return printed;
}

test('compare.mjs', async () => {
  const [cat, cup] = [join(photos, 'chelsea.png'), join(photos, 'coffee.png')];
  expect(await run('compare.mjs', cat, cup, cat)).toMatch(/^-?0\.\d{3}\n1\.000\n$/);
});

test('pca-png.mjs', async () => {
  await run('pca-png.mjs', join(photos, 'chelsea.png'), 'pca.png');
  const { width, height, data } = PNG.sync.read(readFileSync(join(folder, 'pca.png')));
  expect([width, height]).toEqual([518, 350]);
  expect(new Set(data.filter((_, i) => i % 4 === 0)).size).toBeGreaterThan(50);
});

test('folder-search.mjs', async () => {
  const library = join(folder, 'photos');
  for (const name of ['chelsea.png', 'coffee.png', 'astronaut.png'])
    cpSync(join(photos, name), join(library, name));
  const [added, first, ...others] = (await run('folder-search.mjs', library, join(photos, 'coffee.png')))
    .trim()
    .split('\n');
  expect(added).toBe('3 added, 0 unchanged');
  expect(first).toMatch(/^1\.00\d .*coffee\.png$/);
  expect(others.length).toBe(2);
  // The index is on the disk, so nothing is computed again.
  expect(await run('folder-search.mjs', library, join(photos, 'coffee.png'))).toMatch(
    /^0 added, 3 unchanged\n/,
  );
});
