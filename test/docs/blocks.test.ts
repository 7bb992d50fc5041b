// The code blocks of README.md and docs/guide: each is run by a test or says why not, and quoted messages of
// errors are those of the library.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { assignments, blocksOf, pages, placeOf } from './blocks.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const blocks = pages.flatMap(blocksOf);

test('blocks that do not run have a reason, and are few', () => {
  const notRun = blocks.filter((block) => block.notRun !== undefined);
  expect(notRun.map(({ page, notRun: reason }) => `${page}: ${reason}`)).toEqual(NOT_RUN);
  expect(blocks.length - notRun.length).toBeGreaterThan(50);
});

/** The blocks that no test runs. Add one only if it needs what a test cannot have. */
const NOT_RUN: readonly string[] = [
  'README.md: needs the registry',
  'docs/guide/checkpoints.md: needs PyTorch',
  'docs/guide/export.md: needs a Postgres server',
  'docs/guide/export.md: needs a Qdrant server',
  'docs/guide/getting-started.md: needs the registry',
  'docs/guide/node.md: needs the registry',
];

test('every fence names a language that a test runs', () => {
  const others = blocks.filter((block) => placeOf(block) === 'text' && block.language !== '');
  expect(others.map(({ page, line, language }) => `${page}:${line} ${language}`)).toEqual([]);
  for (const page of pages) {
    const fences = readFileSync(join(root, page), 'utf8').match(/^ *```/gm)?.length ?? 0;
    expect(blocksOf(page).length * 2, page).toBe(fences);
  }
});

test.each(blocks.filter((block) => ['browser', 'node'].includes(placeOf(block))))(
  '$page:$line is valid code',
  ({ text }) => {
    expect(() => assignments(text)).not.toThrow();
  },
);

test('messages quoted in the questions are those of the library', () => {
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => readFileSync(join(root, 'src', path), 'utf8'))
    .join('\n')
    // A message may be put together from several strings.
    .replaceAll(/['`]\s*\+\s*['`]/g, '');
  const headings = readFileSync(join(root, 'docs/guide/faq.md'), 'utf8').match(/^### .*"[^"\n]+".*$/gm)!;
  expect(headings.length).toBeGreaterThan(10);
  const missing = headings
    .flatMap((heading) => [...heading.matchAll(/"([^"]+)"/g)].flatMap(([, quoted]) => quoted!.split(' … ')))
    .flatMap((part) => part.split('…'))
    .map((part) => part.trim())
    .filter((part) => part.length > 2 && !sources.includes(part));
  expect(missing).toEqual([]);
});

test('versions that the documents call tested are those of the installed packages', () => {
  const read = (path: string): string => readFileSync(join(root, path), 'utf8');
  const { devDependencies } = JSON.parse(read('package.json')) as { devDependencies: Record<string, string> };
  const chromium = devDependencies['@sparticuz/chromium']!.split('.')[0]!;
  const browsers = read('docs/guide/browsers.md');
  expect(browsers).toMatch(new RegExp(`^\\| Chromium on Linux +\\| ${chromium} `, 'm'));
  expect(browsers).toMatch(new RegExp(`^\\| feature +\\| Chromium ${chromium} `, 'm'));
  expect(browsers).toContain(`\`webgpu\` ${devDependencies['webgpu']} `);
  expect(read('README.md')).toContain(`Chromium ${chromium} on Linux`);
});
