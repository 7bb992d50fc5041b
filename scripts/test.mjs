// Runs the tests, says on which adapters they ran, and ends on one line: `N passed, N failed`.
//
//   node scripts/test.mjs [--full] [--project NAME]… [vitest filters…]
//
// --full also runs the suites that need minutes (test/**/*.full.test.ts). TEST_ADAPTER chooses Dawn's Vulkan
// driver (test/setup-dawn.ts).
import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const folder = join(root, 'node_modules', '.cache', 'test');
const adapters = join(folder, 'adapters');
const results = join(folder, 'results.json');
rmSync(folder, { recursive: true, force: true });
mkdirSync(adapters, { recursive: true });

const args = process.argv.slice(2);
const full = args.includes('--full');
const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
const options = [
  'run',
  '--reporter=default',
  '--reporter=json',
  `--reporter=${join(root, 'scripts', 'failures-reporter.mjs')}`,
  `--outputFile.json=${results}`,
  ...args.filter((arg) => arg !== '--full'),
];
const env = { ...process.env, TEST_ADAPTER_FOLDER: adapters, ...(full ? { TEST_FULL: '1' } : {}) };
const { status } = spawnSync(process.execPath, [vitest, ...options], {
  cwd: root,
  stdio: ['ignore', 'inherit', 'inherit'],
  env,
});

console.log('\nAdapters:');
const names = readdirSync(adapters).map((file) => readFileSync(join(adapters, file), 'utf8').trim());
for (const name of new Set(names)) console.log(`  ${name}`);
if (names.length === 0) console.log('  none: no test of this run used a GPU');

const counts = existsSync(results)
  ? JSON.parse(readFileSync(results, 'utf8'))
  : { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0 };
const skipped = counts.numPendingTests + counts.numTodoTests;
// A file that fails before its first test has no test to count; the run fails all the same, and must not read
// as whole.
const failed = counts.numFailedTests || (status === 0 && counts.numPassedTests > 0 ? 0 : 1);
if (skipped > 0) console.log(`${skipped} skipped: nothing may be skipped`);
if (process.env.TEST_COUNTS) appendFileSync(process.env.TEST_COUNTS, `${counts.numPassedTests} ${failed}\n`); // .ci/run adds its runs up
console.log(`${counts.numPassedTests} passed, ${failed} failed`);
process.exit(failed > 0 || skipped > 0 ? 1 : 0);
