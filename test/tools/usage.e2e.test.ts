// Mistakes on the published command line are found before anything is loaded. --verbose only saves a process.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { putBuild } from '../builds.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'usage-'));
  for (const name of ['bin', 'package.json'])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  for (const mode of ['library', 'tools'] as const) await putBuild(mode, join(folder, 'dist'));
  mkdirSync(join(folder, 'two'));
  mkdirSync(join(folder, 'is.npy'));
  mkdirSync(join(folder, 'drawn/x.png'), { recursive: true });
  mkdirSync(join(folder, 'odd.index/index.log'), { recursive: true });
  mkdirSync(join(folder, 'damaged.index'));
  writeFileSync(join(folder, 'damaged.index/index.log'), 'no index at all, but some bytes');
  mkdirSync(join(folder, 'model'));
  for (const name of ['model.safetensors', 'config.json']) writeFileSync(join(folder, 'model', name), '');
  symlinkSync('circle', join(folder, 'circle'));
  symlinkSync('/nowhere/at/all', join(folder, 'dangling'));
  for (const name of ['x.png', 'y.png', 'two/x.png', 'two/y.png', 'a\nb.png'])
    writeFileSync(join(folder, name), '');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [join(folder, 'bin/dinov2-webgpu.mjs'), ...args], {
    encoding: 'utf8',
    cwd: folder,
  });
}

const embed = ['embed', 'x.png', '--out', 'x.npy'];
test.each<[string[], RegExp]>([
  [['embed', 'x.png', '--nope'], /^embed: there is no option --nope\. Its options are --out, /],
  [['embed', 'a\nb.png', '--out', 'x.npy'], /without line breaks, found "a\\nb\.png"/],
  [['embed', 'x.png', '--out', ''], /^embed: expected --out FILE, found an empty text/],
  [['convert', '', '--dtype', 'int8', '--out', 'x'], /^convert: expected IN, found an empty text/],
  [['index', '-x.png', '--index', 'i'], /^index: there is no option -x\. .*Write \.\/ before the name/],
  [['embed', 'none.png', '--out', 'x.npy'], /^embed: none\.png: there is no such file or folder/],
  [
    [...embed, '--model', 'nowhere'],
    /^embed: expected --model to be a folder, a URL, or an id .*found nowhere/,
  ],
  [[...embed, '--model', 'bin', '--verbose'], /^bin: expected model\.safetensors .* found neither/],
  [['pca', 'x.png', 'y.png', '--out', 'x.png', '--verbose'], /^pca: expected --out FOLDER for 2 images/],
  [['pca', 'x.png', 'two/x.png', '--out', 'all', '--verbose'], /x\.png would both be drawn as all/],
  [['similar', 'two', 'x.png', '--verbose'], /^similar: expected one image first, found 2 in two/],
  [['search', 'x.png', '--index', 'bin', '--verbose'], /^search: there is no index in bin/],
  [
    ['index', 'x.png', '--index', 'i', '--prune', '--verbose'],
    /^index: --prune needs folders, found x\.png\./,
  ],
  [['convert', 'nowhere', '--dtype', 'int8', '--out', 'x'], /^convert: there is no file or folder nowhere/],
  [['verify', 'a/b', '--expected', 'none.json', '--verbose'], /^verify: the numbers in none\.json cannot be/],
])('%j: exit code 2, and a message without help', (args, text) => {
  const { status, stdout, stderr } = run(...args);
  expect(stderr).toMatch(text);
  expect(stderr).toMatch(/^[^\n]* See npx dinov2-webgpu ([a-z]+ )?--help\.\n$/);
  expect([status, stdout, existsSync(join(folder, 'x.npy'))]).toEqual([2, '', false]);
});

test('--help goes to stdout; --version is that of the package', () => {
  expect(run('similar', '--help')).toMatchObject({
    status: 0,
    stderr: '',
    stdout: expect.stringMatching(/^Usage: npx dinov2-webgpu similar /) as string,
  });
  expect(run('embed', '--version')).toMatchObject({ status: 0, stdout: `${version}\n` });
});

const long = 'n'.repeat(300);
const places = ['x.png/in', '/proc/in', 'circle', 'dangling', `new/${long}/in`];
test.each<[string[], RegExp]>([
  ...places.map((place): [string[], RegExp] => [
    ['embed', 'x.png', '--out', `${place}/x.npy`],
    /^embed: no file can be written into |^embed: circle\/x\.npy cannot be written \(ELOOP/,
  ]),
  [['pca', 'x.png', '--out', 'x.png/in'], /^pca: no file can be written into /],
  [['pca', 'x.png', '--out', 'dangling/x.png', '--force'], /^pca: no file can be written into /],
  [['index', 'x.png', '--index', 'x.png/in'], /^index: no file can be written into /],
  [['convert', 'model', '--dtype', 'int8', '--out', '/proc/in'], /^convert: no file can be written into /],
  [['synthetic', 'small', 'circle', '--force'], /^synthetic: .*ELOOP/],
  [
    ['embed', 'x.png', '--out', 'is.npy', '--force'],
    /^embed: is\.npy is a folder, expected the path of a file/,
  ],
  [
    ['embed', 'x.png', '--out', `${long}.npy`],
    /^embed: n+\.npy cannot be written \(ENAMETOOLONG: name too long\)/,
  ],
  [['pca', 'x.png', '--out', 'drawn', '--force'], /^pca: drawn\/x\.png is a folder/],
  [
    ['index', 'x.png', '--index', 'odd.index'],
    /^index: the index cannot be used: .*index\.log: it is not a file/,
  ],
  [['search', 'x.png', '--index', 'odd.index'], /^search: the index cannot be used: /],
  [['search', 'x.png', '--index', 'y.png'], /^search: the index cannot be used: y\.png/],
  [['inspect', 'x.png/in'], /^inspect: x\.png\/in cannot be read \(ENOTDIR: not a directory\)/],
  [['inspect', 'circle'], /^inspect: circle cannot be read \(ELOOP: /],
  [['convert', 'circle', '--dtype', 'int8', '--out', 'made'], /^convert: circle cannot be read \(ELOOP: /],
])('a place that cannot be written or read, %j: exit code 2 before a model is loaded', (args, text) => {
  const before = readdirSync(folder, { recursive: true });
  // The model does not exist, and there is no GPU package: loading would fail in another way.
  const { status, stderr } = run(...args, ...(args[0] === 'embed' ? ['--model', 'a/b'] : []));
  expect(stderr).toMatch(text);
  expect(stderr).toMatch(/^[^\n]* See npx dinov2-webgpu [a-z]+ --help\.\n$/);
  expect(status).toBe(2);
  expect(readdirSync(folder, { recursive: true })).toEqual(before);
});

test('a damaged index is found before a model is loaded', () => {
  for (const command of ['index', 'search'])
    expect(run(command, 'x.png', '--index', 'damaged.index')).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(
        /^INDEX_DAMAGED: index "damaged\.index": the stored index is damaged/,
      ) as string,
    });
});

test('a folder without permission to write: exit code 2', () => {
  const closed = join(folder, 'closed');
  mkdirSync(closed);
  chmodSync(closed, 0o555);
  chmodSync(folder, 0o755);
  const isRoot = process.getuid?.() === 0; // to whom permissions do not apply
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(folder, 'bin/dinov2-webgpu.mjs'), 'embed', 'x.png', '--out', 'closed/x.npy'],
    { encoding: 'utf8', cwd: folder, ...(isRoot && { uid: 65_534 }) },
  );
  expect(stderr).toMatch(/^embed: no file can be written into closed \(EACCES: permission denied\)/);
  expect(status).toBe(2);
});

test('what cannot be printed because the disk is full is an error', () => {
  const full = openSync('/dev/full', 'w');
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(folder, 'bin/dinov2-webgpu.mjs'), 'embed', '--help'],
    { encoding: 'utf8', stdio: ['ignore', full, 'pipe'] },
  );
  closeSync(full);
  expect([status, stderr]).toEqual([1, 'The output cannot be written (ENOSPC: no space left on device).\n']);
});
