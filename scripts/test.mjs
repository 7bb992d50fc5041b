// Runs the tests, lists the adapters that they used, and ends with the line `N passed, N failed`.
//
//   node scripts/test.mjs [--full | --long] [--exclude PATTERN]… [--project NAME]… [vitest filters…]
//
// --full adds the full tier, which takes minutes: files named *.full*.test.ts, and the variants of tests
// that test/full.ts adds.
// --long adds the long tier as well. TEST_ADAPTER chooses Dawn's Vulkan driver (test/setup-dawn.ts).
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromiumPath } from './software-gpu.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const folder = join(root, 'node_modules', '.cache', 'test');
const adapters = join(folder, 'adapters');
rmSync(folder, { recursive: true, force: true });
mkdirSync(adapters, { recursive: true });

const flags = ['--full', '--long'];
const given = process.argv.slice(2);
const long = given.includes('--long');
const full = long || given.includes('--full');
const isExcluded = (place) => given[place] === '--exclude' || given[place - 1] === '--exclude';
const excluded = given.filter((_, place) => isExcluded(place));
const filters = given.filter((arg, place) => !flags.includes(arg) && !isExcluded(place));

/**
 * Two Vitest processes run at the same time. Tests on Dawn use the CPU nearly all the time, and share
 * pipelines in one worker. The other tests often wait for a browser or a timer, so two of their files run at
 * once.
 */
const lanes =
  filters.length > 0
    ? [{ args: [...filters, ...excluded] }]
    : [
        { args: ['--project', 'unit', '--project', 'browser', '--project', 'demo', ...excluded] },
        { args: ['--project', 'dawn', ...excluded], env: { VITEST_MAX_WORKERS: '1' } },
      ];

/**
 * Runs one Vitest process (a lane). Shows the output of the first process at once, and the output of the
 * second process when it has ended.
 */
function run({ args, env = {} }, index) {
  const results = join(folder, `results-${index}.json`);
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
  const options = [
    'run',
    '--reporter=default',
    '--reporter=json',
    `--reporter=${join(root, 'scripts', 'failures-reporter.mjs')}`,
    `--outputFile.json=${results}`,
    ...args,
  ];
  return new Promise((resolve) => {
    const out = index === 0 ? 'inherit' : 'pipe';
    const child = spawn(process.execPath, [vitest, ...options], {
      cwd: root,
      stdio: ['ignore', out, out],
      env: {
        ...process.env,
        TEST_ADAPTER_FOLDER: adapters,
        ...(full ? { TEST_FULL: '1' } : {}),
        ...(long ? { TEST_LONG: '1' } : {}),
        ...env,
      },
    });
    const held = [];
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data) => held.push(data));
    child.on('error', (error) => held.push(Buffer.from(`${String(error)}\n`)));
    child.on('close', (status) => {
      const counts = existsSync(results)
        ? JSON.parse(readFileSync(results, 'utf8'))
        : { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0 };
      resolve({
        output: Buffer.concat(held),
        passed: counts.numPassedTests,
        skipped: counts.numPendingTests + counts.numTodoTests,
        // Two cases count as failures although no test failed: a file that fails before its first test, and a
        // run without tests, which proves nothing.
        failed: counts.numFailedTests || (status === 0 && counts.numPassedTests > 0 ? 0 : 1),
      });
    });
  });
}

await chromiumPath(); // unpacks the browser now, so that the two processes do not unpack it at the same time
const ended = await Promise.all(lanes.map(run));
for (const { output } of ended) process.stdout.write(output);
const sum = (key) => ended.reduce((total, lane) => total + lane[key], 0);
const [passed, failed, skipped] = [sum('passed'), sum('failed'), sum('skipped')];

console.log('\nAdapters:');
const names = readdirSync(adapters).map((file) => readFileSync(join(adapters, file), 'utf8').trim());
for (const name of new Set(names)) console.log(`  ${name}`);
if (names.length === 0) console.log('  none: no test of this run used a GPU');

if (skipped > 0) console.log(`${skipped} skipped: no test may be skipped`);
// .ci/run adds up these counts over several runs.
if (process.env.TEST_COUNTS) appendFileSync(process.env.TEST_COUNTS, `${passed} ${failed}\n`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || skipped > 0 ? 1 : 0;
