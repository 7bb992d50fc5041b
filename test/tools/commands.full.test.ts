// The commands `pca`, `similar`, `index`, `search` and `verify` of the published command line, on the adapter of
// these tests.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { PNG } from 'pngjs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { images, publish, type Published } from './published.ts';

let line: Published;
const model = ['--model', 'models/tiny'];
beforeAll(async () => {
  line = await publish(['webgpu', 'sharp']);
  mkdirSync(join(line.folder, 'photos/more'), { recursive: true });
  for (const [from, to] of [
    ['420.jpg', '420.jpg'],
    ['rgb.png', 'rgb.png'],
    ['rgb.bmp', 'more/rgb.bmp'], // the same pixels
    ['grey.png', 'more/grey.png'],
  ] as const)
    cpSync(join(images, from), join(line.folder, 'photos', to));
  writeFileSync(join(line.folder, 'photos/broken.png'), 'no image');
});
afterAll(() => line.remove());

const small = ['--resize', 'fit', '--size', '56'];

test('pca draws one image to a file, and several to a folder with one basis', () => {
  expect(line.run('pca', 'photos/rgb.png', '--out', 'one.png', ...model, ...small)).toEqual(
    expect.objectContaining({ status: 0, stdout: 'one.png\n', stderr: '' }),
  );
  const one = PNG.sync.read(readFileSync(join(line.folder, 'one.png')));
  expect(Math.max(one.width, one.height)).toBe(56);
  expect(new Set(one.data).size).toBeGreaterThan(20);

  const several = line.run(
    'pca',
    'photos/*.png',
    'photos/more',
    '--out',
    'all',
    '--scale',
    '2',
    ...model,
    ...small,
  );
  expect(several.stderr).toMatch(/^photos\/broken\.png: [^\n]*\n$|would both/);
  expect(several.status).toBe(2); // rgb.png and more/rgb.bmp have the same name
  const two = line.run('pca', 'photos/*.{png,jpg}', '--out', 'all', '--scale', '2', ...model, ...small);
  expect(two).toMatchObject({ status: 3, stdout: 'all: 2 pictures\n' });
  expect(two.stderr).toMatch(/^photos\/broken\.png: [^\n]*\n$/);
  const drawn = PNG.sync.read(readFileSync(join(line.folder, 'all/rgb.png')));
  expect(Math.max(drawn.width, drawn.height)).toBe(8);
});

test('similar ranks other images, without the image itself, as text and as JSON', () => {
  const args = ['similar', 'photos/rgb.png', 'photos', ...model, ...small];
  const { status, stdout, stderr } = line.run(...args, '--top', '2');
  expect([status, stderr.split('\n').length]).toEqual([3, 2]);
  expect(stdout).toMatch(/^ 1\.0000 {2}photos\/more\/rgb\.bmp\n 0\.\d{4} {2}photos\/[^\n]*\n$/);
  const { query, hits, failed } = JSON.parse(line.run(...args, '--json').stdout) as {
    query: string;
    hits: { path: string; score: number }[];
    failed: { path: string; error: string }[];
  };
  expect([query, hits.length, failed.map(({ path }) => path)]).toEqual([
    'photos/rgb.png',
    3,
    ['photos/broken.png'],
  ]);
  expect(hits.map(({ score }) => score)).toEqual(hits.map(({ score }) => score).toSorted((a, b) => b - a));
});

interface Counts {
  size: number;
  added: number;
  updated: number;
  unchanged: number;
  removed: number;
  failed: { path: string }[];
}

test('index adds what is new or has changed, and search finds it', () => {
  const photos = join(line.folder, 'library');
  cpSync(join(line.folder, 'photos'), photos, { recursive: true });
  const add = (...args: string[]): Counts => {
    const { stdout, stderr } = line.run('index', ...args, '--index', 'my.index', '--json');
    expect(stdout, stderr).toMatch(/^\{/);
    return JSON.parse(stdout) as Counts;
  };
  expect(add('library/more', ...model, ...small)).toMatchObject({ size: 2, added: 2, failed: [] });
  expect(add('library')).toMatchObject({
    size: 4,
    added: 2,
    unchanged: 2,
    failed: [{ path: join(photos, 'broken.png') }],
  });
  cpSync(join(images, 'palette.png'), join(photos, 'more/grey.png'));
  utimesSync(join(photos, 'more/grey.png'), 1e9, 1e9);
  rmSync(join(photos, '420.jpg'));
  expect(add('library', '--prune')).toMatchObject({ size: 3, updated: 1, unchanged: 2, removed: 1 });

  const found = line.run('search', 'library/rgb.png', '--index', 'my.index', '--top', '1');
  expect(found).toMatchObject({ status: 0, stdout: ' 1.0000  library/more/rgb.bmp\n', stderr: '' });
  const several = line.run('search', 'photos/rgb.png', 'photos/broken.png', '--index', 'my.index', '--json');
  expect(several.status).toBe(3);
  expect(JSON.parse(several.stdout)).toMatchObject([
    { query: 'photos/rgb.png', hits: [{ path: join(photos, 'more/rgb.bmp') }, {}, {}] },
    { query: 'photos/broken.png', error: expect.stringMatching(/./) as string },
  ]);
  expect(line.run('index', 'library', '--index', 'my.index', '--size', '70')).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/^index: my\.index was made with --size 56, found --size 70/) as string,
  });
});

test('two processes that index at the same time, one of which is killed: the index has all images', async () => {
  const run = (): Promise<number | null> =>
    new Promise((resolve) => {
      const { env } = process;
      const child = spawn(
        process.execPath,
        [
          'bin/dinov2-webgpu.mjs',
          'index',
          'photos',
          '--index',
          'shared.index',
          '--verbose',
          ...model,
          ...small,
        ],
        {
          cwd: line.folder,
          stdio: 'ignore',
          env: {
            ...env,
            LD_LIBRARY_PATH: [env['SWIFTSHADER_DIR'], env['LD_LIBRARY_PATH']].filter(Boolean).join(':'),
          },
        },
      );
      child.on('close', resolve);
      if (first) setTimeout(() => child.kill('SIGKILL'), 1500);
      first = false;
    });
  let first = true;
  const [, ...others] = await Promise.all([run(), run(), run()]);
  expect(others).toEqual([3, 3]); // photos/broken.png
  const { stdout } = line.run('index', 'photos', '--index', 'shared.index', '--json');
  expect(JSON.parse(stdout)).toMatchObject({ size: 4, added: 0, unchanged: 4 });
});

test.each(['SIGTERM', 'SIGKILL'] as const)(
  '%s ends the command and the process that has the GPU',
  async (signal) => {
    const server = createServer().listen(0); // never answers
    const url = `http://localhost:${(server.address() as AddressInfo).port}/model`;
    const args = ['bin/dinov2-webgpu.mjs', 'pca', 'photos/420.jpg', '--out', 'ended', '--model', url];
    const child = spawn(process.execPath, args, { cwd: line.folder, stdio: ['ignore', 'pipe', 'inherit'] });
    child.stdout.resume();
    await once(server, 'request'); // a load opens the GPU before it downloads
    child.kill(signal);
    // `close` comes when both processes have closed the pipe.
    expect(await once(child, 'close')).toEqual([null, signal]);
    server.close();
    server.closeAllConnections();
  },
);

test('verify compares with numbers of Python: exit code 0, 1 or 3', () => {
  const numbers = join(import.meta.dirname, '../fixtures/verify/expected.json');
  const chelsea = join(import.meta.dirname, '../../demo/photos/chelsea.png');
  const args = ['verify', 'models/tiny', '--image', chelsea, '--expected'];
  const { status, stdout, stderr } = line.run(...args, numbers);
  expect([status, stderr]).toEqual([0, '']);
  expect(stdout).toMatch(/^models\/tiny, on .*\n {2}against transformers[^]*\nmodels\/tiny: holds\n/);
  const wrong = JSON.parse(readFileSync(numbers, 'utf8')) as { last_hidden_state: number[][] };
  wrong.last_hidden_state[0]![0]! += 1e-2;
  writeFileSync(join(line.folder, 'wrong.json'), JSON.stringify(wrong));
  expect(line.run(...args, 'wrong.json')).toMatchObject({
    status: 1,
    stdout: expect.stringMatching(/DIFFERS\n[^]*models\/tiny: DIFFERS\n/) as string,
  });
  expect(line.run('verify', 'models/tiny', '--image', chelsea)).toMatchObject({
    status: 3,
    stderr: expect.stringMatching(/could not be compared: no published numbers/) as string,
  });
});
