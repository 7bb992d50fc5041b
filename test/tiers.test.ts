// Checks that the test files and variants that `npm test` skips run elsewhere: each one of the full and the
// long tier must be in a step of .ci/run or in `npm run test:long`.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string): string => readFileSync(`${root}/${path}`, 'utf8');
const files = readdirSync(`${root}/test`, { recursive: true, encoding: 'utf8' })
  .map((path) => `test/${path.replaceAll('\\', '/')}`)
  .filter((path) => path.endsWith('.test.ts'));

/** The Vitest project of a test file, derived from its suffix as in vite.config.ts. */
function projectOf(path: string): string {
  const kind = /\.([a-z0-9-]+)\.test\.ts$/.exec(path)?.[1] ?? '';
  const projects: Record<string, string> = {
    gpu: 'dawn',
    full: 'dawn',
    browser: 'browser',
    'full-browser': 'browser',
    e2e: 'demo',
    'full-e2e': 'demo',
    firefox: 'firefox',
  };
  return projects[kind] ?? 'unit';
}

interface Run {
  readonly projects: readonly string[];
  /** Substrings of paths to run. An empty list runs everything in the projects. */
  readonly filters: readonly string[];
  /** Substrings of paths to exclude. */
  readonly excluded: readonly string[];
}

/** What a command line of scripts/test.mjs, or of an npm script that calls it, selects. */
function runOf(command: string): Run {
  const words = command.split(/\s+/).filter((word) => word !== '' && word !== '--');
  const projects = words.flatMap((word, i) => (word === '--project' ? [words[i + 1]!] : []));
  const excluded = words.flatMap((word, i) =>
    word === '--exclude' ? [words[i + 1]!.replace(/^'\*\*\/(.*)'$/, '$1')] : [],
  );
  const filters = words.filter(
    (word, i) => !word.startsWith('--') && !['--project', '--exclude'].includes(words[i - 1]!),
  );
  return { projects, filters, excluded };
}

const selects = ({ projects, filters, excluded }: Run, path: string): boolean =>
  !excluded.some((part) => path.includes(part)) &&
  (projects.length === 0 || projects.includes(projectOf(path))) &&
  (filters.length === 0 || filters.some((filter) => path.includes(filter)));

const steps = [...read('.ci/run').matchAll(/^.*\bnpm run --silent test:full\b(.*)$/gm)].map(([, rest]) =>
  runOf(rest!),
);
const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
const longRun = runOf(scripts['test:long']!.replace('node scripts/test.mjs --long', ''));

const [shortRun] = [...read('.ci/run').matchAll(/^step 'npm test' npm test\b(.*)$/gm)].map(([, rest]) =>
  runOf(rest!),
);

/** Whether a file has variants of a tier: it imports test/full.ts or, in a browser, injects its value. */
const asks = (path: string, tier: 'full' | 'long'): boolean =>
  new RegExp(`import \\{[^}]*\\b${tier}\\b[^}]*\\} from '[./]*/full\\.[jt]s'`).test(read(path)) ||
  (projectOf(path) === 'browser' && read(path).includes(`inject('${tier}')`));

const fullFiles = files.filter(
  (path) => /\.full(-\w+)?\.test\.ts$/.test(path) || asks(path, 'full') || asks(path, 'long'),
);

test('.ci/run has steps of the full tier', () => {
  expect(steps.length).toBeGreaterThan(5);
  expect(fullFiles.length).toBeGreaterThan(20);
});

test.each(fullFiles)('%s is in a step of .ci/run', (path) => {
  expect(steps.filter((run) => selects(run, path))).not.toEqual([]);
});

test('what .ci/run leaves out of npm test, a step runs with all variants', () => {
  expect(shortRun!.filters).toEqual([]);
  for (const pattern of shortRun!.excluded) {
    const left = files.filter((path) => path.endsWith(pattern));
    expect(left, pattern).toHaveLength(1);
    expect(
      steps.filter((run) => selects(run, left[0]!)),
      pattern,
    ).not.toEqual([]);
  }
});

test.each(files.filter((path) => asks(path, 'long')))('%s is in npm run test:long', (path) => {
  expect(selects(longRun, path)).toBe(true);
});

test('every filter of a step matches a file of its project', () => {
  for (const { projects, filters, excluded } of [...steps, longRun])
    for (const filter of [...filters, ...excluded])
      expect(
        files.some((path) => selects({ projects, filters: [filter], excluded: [] }, path)),
        `${projects.join()} ${filter}`,
      ).toBe(true);
});
