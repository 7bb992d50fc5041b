// Tries the packed library as a new user would: in empty folders, with each bundler, in Chromium.
//
//   node scripts/consumers.mjs [--shots FOLDER] [NAME…]
//
//   NAME             a project of scripts/consumers/bundlers.mjs or examples.mjs; default: all
//   --shots FOLDER   writes pictures of the examples' pages at 390 and 1440 pixels
//
// Needs the network: it installs the locked packages of each project. Prints a table.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PROJECTS, tryProject } from './consumers/bundlers.mjs';
import { EXAMPLES, tryExample } from './consumers/examples.mjs';
import { pack } from './consumers/package.mjs';
import { startBrowser } from './consumers/site.mjs';

const { values, positionals: given } = parseArgs({
  allowPositionals: true,
  options: { shots: { type: 'string' } },
});
const names = [...Object.keys(PROJECTS), ...Object.keys(EXAMPLES)];
const unknown = given.filter((name) => !names.includes(name));
if (unknown.length > 0) {
  console.error(`consumers: expected ${names.join(', ')}; found ${unknown.join(', ')}.`);
  process.exit(2);
}

const into = mkdtempSync(join(tmpdir(), 'consumers-'));
const browser = await startBrowser(into);
const short = (text) => (text === undefined ? '–' : text === 'ok' ? 'ok' : 'FAILED');
const kilobytes = (bytes) => (bytes === undefined ? '–' : `${(bytes / 1000).toFixed()} kB`);
try {
  const tarball = process.env.PACKED_TARBALL ?? pack(into);
  console.log('project        build   page    worker  dev page  dev worker  scripts   gzipped');
  for (const name of given.length > 0 ? given : names) {
    const attempt = name in EXAMPLES ? tryExample : tryProject;
    const options = { tarball, browser, into, shots: values.shots };
    const { build, page, worker, devPage, devWorker, bytes, gzipBytes } = await attempt(name, options);
    const cells = [build, page, worker].map((text) => short(text).padEnd(8));
    const devCells = [short(devPage).padEnd(10), short(devWorker).padEnd(12)];
    console.log(
      [name.padEnd(15), ...cells, ...devCells, kilobytes(bytes).padEnd(10), kilobytes(gzipBytes)].join(''),
    );
    const steps = { build, page, worker, devPage, devWorker };
    for (const [step, text] of Object.entries(steps))
      if (text !== undefined && text !== 'ok') {
        console.log(`  ${step}: ${text}`);
        process.exitCode = 1;
      }
  }
} finally {
  await browser.close();
  rmSync(into, { recursive: true, force: true });
}
