// Links between the repository's documents lead to files and headings that exist.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const FOLDERS = ['bench', 'demo', 'docs', 'examples', 'scripts', 'weights'];
const documents = [
  ...readdirSync(root),
  ...FOLDERS.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) => join(folder, path)),
  ),
].filter((path) => path.endsWith('.md') && !path.startsWith(join('docs', 'api')));

/** The fragment that GitHub gives to a heading. */
const fragmentOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(/\s/g, '-');

test('every link of a document leads to a file and a heading', () => {
  expect(documents.length).toBeGreaterThan(10);
  const broken: string[] = [];
  for (const path of documents) {
    const text = readFileSync(join(root, path), 'utf8').replaceAll(/```[\s\S]*?```/g, '');
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(https?:|mailto:)/.test(target!)) continue;
      const [file, fragment] = target!.split('#');
      const to = file ? join(root, dirname(path), file) : join(root, path);
      if (!existsSync(to)) broken.push(`${path}: ${target}`);
      else if (fragment && to.endsWith('.md')) {
        const headings = [...readFileSync(to, 'utf8').matchAll(/^#+ (.+)$/gm)].map(([, each]) =>
          fragmentOf(each!),
        );
        if (!headings.includes(fragment)) broken.push(`${path}: ${target}`);
      }
    }
  }
  expect(broken).toEqual([]);
});

test('the pages that README.md links to are in the package', () => {
  const { files } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { files: string[] };
  const published = ['README.md', 'LICENSE', ...files]; // npm adds the first two
  const text = readFileSync(join(root, 'README.md'), 'utf8');
  // npm's site shows the pictures from the repository.
  const links = [...text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)]
    .map(([, target]) => target!)
    .filter((target) => !/^https?:|\.png$/.test(target));
  const missing = links.filter(
    (target) => !published.some((each) => target === each || target.startsWith(`${each}/`)),
  );
  expect(links.length).toBeGreaterThan(20);
  expect(missing).toEqual([]);
});
