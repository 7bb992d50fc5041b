// examples/README.md lists every example with its number of lines.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const folder = fileURLToPath(new URL('../../examples', import.meta.url));
const readme = readFileSync(join(folder, 'README.md'), 'utf8');

const filesIn = (where: string): string[] =>
  readdirSync(join(folder, where), { recursive: true, encoding: 'utf8' })
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => !/(^|\/)(node_modules|dist)\//.test(path));

/** Lines of code of a page, a script or a project, without markup, empty lines and comments. */
function linesOf(example: string): number {
  if (!example.includes('.')) {
    const sources = filesIn(example).filter((path) => /\.(jsx?|svelte)$/.test(path) && !/config/.test(path));
    return sources.reduce((sum, path) => sum + linesOf(`${example}/${path}`), 0);
  }
  const text = readFileSync(join(folder, example), 'utf8');
  const scripts = /\.(html|svelte)$/.test(example)
    ? [...text.matchAll(/<script(?: type="module")?>\n([^]*?)<\/script>/g)].map(([, code]) => code!)
    : [text];
  const lines = scripts
    .flatMap((code) => code.replace(/\/\*\*[^]*?\*\//g, '').split('\n'))
    .map((line) => line.trim());
  return lines.filter((line) => line !== '' && !line.startsWith('//')).length;
}

const rows = [...readme.matchAll(/^\| \[[^\]]+\]\(([^)]+)\) .*\| +(\d+) +\|$/gm)].map(
  ([, file, lines]) => [file!, Number(lines)] as const,
);

test('every page, script and project is listed', () => {
  const examples = filesIn('.')
    .filter((path) => /^([\w-]+\.html|node\/[\w-]+\.mjs|[\w-]+\/package\.json)$/.test(path))
    .map((path) => path.replace('/package.json', ''));
  expect(examples.length).toBeGreaterThan(15);
  expect(rows.map(([example]) => example).sort()).toEqual(examples.sort());
});

test.each(rows)('the number of lines of %s', (example, lines) => {
  expect(linesOf(example)).toBe(lines);
});
