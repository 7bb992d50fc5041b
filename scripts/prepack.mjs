// Runs before `npm pack` and `npm publish`, so that the package is built from the current sources. Installs
// missing packages, builds, and fails if a file that package.json names is missing. Prints to stderr, because
// `npm pack --json` prints its result to stdout.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { missingFiles, existsIn } from './published-files.mjs';

const stdio = ['ignore', 2, 2];
const fail = (message) => {
  console.error(`prepack: ${message}`);
  process.exit(1);
};

const install = spawnSync(process.execPath, ['scripts/install.mjs'], { stdio });
if (install.status !== 0) fail('installing the packages failed (see above). Run `npm ci`, then pack again.');
const npm = process.env.npm_execpath;
const [command, ...args] = npm ? [process.execPath, npm] : ['npm'];
const build = spawnSync(command, [...args, 'run', 'build'], { stdio, shell: !npm });
if (build.status !== 0) fail('the build failed (see above). Nothing was packed.');
const missing = missingFiles(JSON.parse(readFileSync('package.json', 'utf8')), existsIn('.'));
if (missing.length > 0)
  fail(`package.json names files that the build did not make: ${missing.join(', ')}. Nothing was packed.`);
