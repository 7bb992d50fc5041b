// `npm pack` never makes a package without its build. These tests run package.json and its scripts with a
// trivial build; `npm run check` packs and checks the real package.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { promisedFiles } from '../../scripts/published-files.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
interface Manifest {
  readonly name: string;
  readonly scripts: Readonly<Record<string, string>>;
}
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;
const promised = promisedFiles(manifest);

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'pack-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const put = (path: string, text: string): void => {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
};

interface Packing {
  readonly status: number | null;
  readonly stderr: string;
  /** Paths of the package's files. Undefined if no package was made. */
  readonly paths: string[] | undefined;
}

/** Packs a checkout without dist/, with a build that writes the files `made`. */
function pack(made: readonly string[], { installed = true } = {}): Packing {
  for (const path of ['bin', 'weights', 'THIRD-PARTY.md', 'scripts/install.mjs'])
    cpSync(join(root, path), join(folder, path), { recursive: true });
  for (const path of ['scripts/prepack.mjs', 'scripts/published-files.mjs'])
    cpSync(join(root, path), join(folder, path));
  const scripts = { ...manifest.scripts, build: 'node build.mjs' };
  const devDependencies = installed ? {} : { pngjs: '7.0.0' }; // missing in the lock file
  put('package.json', JSON.stringify({ ...manifest, devDependencies, peerDependencies: {}, scripts }));
  const body = `for (const path of ${JSON.stringify(made)}) { mkdirSync(dirname(path), { recursive: true }); writeFileSync(path, 'made'); }`;
  put(
    'build.mjs',
    `import { mkdirSync, writeFileSync } from 'node:fs';\nimport { dirname } from 'node:path';\n${body}\n`,
  );
  put('package-lock.json', '{}');
  if (installed) put('node_modules/.package-lock.json', '{}');
  const { status, stdout, stderr } = spawnSync('npm', ['pack', '--json', '--offline'], {
    cwd: folder,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  });
  const tarballs = readdirSync(folder).filter((name) => name.endsWith('.tgz'));
  if (tarballs.length === 0) return { status, stderr, paths: undefined };
  const [{ files }] = JSON.parse(stdout) as [{ files: { path: string }[] }];
  return { status, stderr, paths: files.map(({ path }) => path) };
}

test('without dist/, packing builds it, and the package contains every file that package.json names', () => {
  const { status, paths } = pack(promised.filter((path) => path.startsWith('dist/')));
  expect(status).toBe(0);
  expect(paths).toEqual(expect.arrayContaining(['dist/index.js', 'dist/index.d.ts', 'dist/tools.js']));
  expect(paths).toEqual(expect.arrayContaining(promised));
});

test('if the build leaves a file out, packing fails and names the file', () => {
  const made = promised.filter((path) => path.startsWith('dist/') && path !== 'dist/search.js');
  const { status, stderr, paths } = pack(made);
  expect([status === 0, paths]).toEqual([false, undefined]);
  expect(stderr).toMatch(/did not make: dist\/search\.js\. Nothing was packed\./);
});

test('if packages cannot be installed, packing fails and says what to do', () => {
  const { status, stderr, paths } = pack([], { installed: false });
  expect([status === 0, paths]).toEqual([false, undefined]);
  expect(stderr).toMatch(/prepack: installing the packages failed .* Run `npm ci`/);
});
