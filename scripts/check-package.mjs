// npm run check: packs the package as `npm publish` does (prepack builds the package), and checks the
// tarball. The tarball must have every file that package.json names, and publint and attw must report no
// problem.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { missingFiles } from './published-files.mjs';

const npm = process.env.npm_execpath;
const [command, ...args] = npm ? [process.execPath, npm] : ['npm'];
const folder = mkdtempSync(join(tmpdir(), 'package-'));

function run(executable, given, options) {
  const { status, stdout } = spawnSync(executable, given, {
    stdio: ['ignore', 'inherit', 'inherit'],
    encoding: 'utf8',
    ...options,
  });
  if (status === 0) return stdout;
  console.error(`check-package: ${given.join(' ')} failed (see above).`);
  process.exitCode = 1;
  return undefined;
}

function check() {
  const packing = [...args, 'pack', '--json', '--pack-destination', folder];
  const packed = run(command, packing, { stdio: ['ignore', 'pipe', 'inherit'], shell: !npm });
  if (packed === undefined) return;
  const [{ filename, files }] = JSON.parse(packed);
  const there = new Set(files.map(({ path }) => path));
  const missing = missingFiles(JSON.parse(readFileSync('package.json', 'utf8')), (path) => there.has(path));
  if (missing.length > 0) {
    console.error(
      `check-package: package.json names files that are not in ${filename}: ${missing.join(', ')}.`,
    );
    process.exitCode = 1;
    return;
  }
  console.log(`${filename}: ${files.length} files, including every file that package.json names`);
  const tarball = join(folder, filename);
  run(process.execPath, ['node_modules/publint/src/cli.js', tarball]);
  run(process.execPath, [
    'node_modules/@arethetypeswrong/cli/dist/index.js',
    tarball,
    '--profile',
    'esm-only',
  ]);
}

try {
  check();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
