// node scripts/check-version.mjs TAG
//
// Fails unless the tag is "v" and the version of package.json, and CHANGELOG.md has a section of this version.
import { readFileSync } from 'node:fs';

const [tag = ''] = process.argv.slice(2);
const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
const changes = readFileSync('CHANGELOG.md', 'utf8');
const problems = [
  ...(tag === `v${version}`
    ? []
    : [`expected the tag v${version}, as in package.json, found ${tag || 'none'}`]),
  ...(changes.includes(`## [${version}]`) || changes.includes(`## ${version}`)
    ? []
    : [`CHANGELOG.md has no section for ${version}`]),
];
for (const problem of problems) console.error(`check-version: ${problem}.`);
if (problems.length > 0) process.exitCode = 1;
