// Mistakes on the published command line are found before anything is loaded. --verbose only saves a process.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
