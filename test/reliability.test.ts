// The tables of docs/internals/reliability.md name files and tests that exist, and its summary counts its rows.
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const sections = readFileSync('docs/internals/reliability.md', 'utf8').split(/^## /m);
const SHARDS = 'Checkpoints and indexes of shards';

/** The rows of a section's tables, as cells, without head rows. */
function rowsOf(title: string): string[][] {
  const lines = sections.find((text) => text.startsWith(`${title}\n`))!.split('\n');
  return lines
    .filter((line, i) => line.startsWith('|') && !line.startsWith('| -') && !lines[i + 1]?.startsWith('| -'))
    .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()));
}

const titles = [SHARDS, 'WebGPU', 'Downloads and storage', 'Security', 'Node', 'Numerics'];
/** Folders of files that the tables name without one. */
const folders: Readonly<Record<string, string>> = { [SHARDS]: 'loading/', Node: 'node/' };

test.each(titles)('%s: every file and every test that is named exists', (title) => {
  const missing: string[] = [];
  for (const row of rowsOf(title))
    for (const [, file, names = ''] of row.at(-2)!.matchAll(/`([\w./-]+\.ts)`((?:, "[^"]*")*)/g)) {
      const path = `test/${file!.includes('/') ? '' : (folders[title] ?? '')}${file}`;
      if (!existsSync(path)) missing.push(path);
      else {
        const text = readFileSync(path, 'utf8');
        for (const [, name] of names.matchAll(/"([^"]*)"/g))
          for (const part of name!.replaceAll('\\', '').split('…'))
            if (!text.includes(part.trim())) missing.push(`${path}: ${part}`);
      }
    }
  expect(missing).toEqual([]);
});

test('the summary counts the rows', () => {
  const summary = new Map(
    sections[0]!
      .split('\n')
      .map((line) => line.split('|').map((cell) => cell.trim()))
      .map(([, part, ...counts]) => [part, counts.slice(0, 5).map(Number)]),
  );
  for (const title of titles) {
    const kinds = rowsOf(title).map((row) =>
      ['**partly**', '**not covered**', '**does not apply**'].findIndex((kind) => row.at(-2)!.includes(kind)),
    );
    const count = (kind: number): number => kinds.filter((each) => each === kind).length;
    const part = ['WebGPU', 'Node'].includes(title) ? title : title.toLowerCase();
    expect(summary.get(part), title).toEqual([kinds.length, count(-1), count(0), count(1), count(2)]);
  }
});
