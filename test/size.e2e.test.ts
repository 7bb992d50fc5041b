/** Download sizes of pages that use the library: bundled with tree shaking, minified and gzipped. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { putBuild } from './builds.ts';

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'size-'));
  await putBuild('library', join(folder, 'dist'));
  copyFileSync(
    fileURLToPath(new URL('../package.json', import.meta.url)), // lists the files with side effects, for tree shaking
    join(folder, 'package.json'),
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Chunk {
  readonly name: string;
  readonly code: string;
  readonly isEntry: boolean;
  readonly imports: readonly string[];
}

/** Bundles a page with this script and returns its chunks by file name. */
async function bundle(script: string): Promise<ReadonlyMap<string, Chunk>> {
  const input = join(folder, 'page.js');
  writeFileSync(input, script);
  const made = await build({
    root: folder,
    configFile: false,
    logLevel: 'error',
    build: { write: false, target: 'es2023', modulePreload: false, rolldownOptions: { input } },
  });
  const outputs = (Array.isArray(made) ? made : [made]).flatMap((each) =>
    'output' in each ? each.output : [],
  );
  return new Map(
    outputs.flatMap((file) =>
      file.type === 'chunk' ? [[file.fileName, file satisfies Omit<Chunk, 'name'> & { name: string }]] : [],
    ),
  );
}

/** Gzipped bytes of the entry, of the lazy chunks with these names, and of everything these import. */
function bytesOf(chunks: ReadonlyMap<string, Chunk>, lazy: readonly string[] = []): number {
  const found = new Set<string>();
  const add = (file: string): void => {
    if (found.has(file)) return;
    found.add(file);
    for (const each of chunks.get(file)!.imports) add(each);
  };
  const names = [...chunks.values()].map(({ name }) => name);
  expect(names).toEqual(expect.arrayContaining([...lazy]));
  for (const [file, { name, isEntry }] of chunks) if (isEntry || lazy.includes(name)) add(file);
  return [...found].reduce((sum, file) => sum + gzipSync(chunks.get(file)!.code, { level: 9 }).length, 0);
}

const use = (names: string, entry: string): string =>
  `import { ${names} } from './dist/${entry}.js'; globalThis.used = [${names}];`;
const tell = (what: string, bytes: number): void =>
  console.log(`${what}: ${(bytes / 1000).toFixed(1)} kB gzipped`);

test('index.js only re-exports: with a definition in it, a page would load every lazy file with it', () => {
  const lines = readFileSync(join(folder, 'dist/index.js'), 'utf8').trim().split('\n');
  expect(lines.filter((line) => !/^(import|export) |^\/\/# /.test(line))).toEqual([]);
});

/** Size budgets, slightly above the current sizes: growth has to be a decision. */
describe('evaluated by an import', () => {
  test.each([
    ['DINOv2', 'index', 8_600],
    ['DINOv2, PCA', 'index', 16_200],
    ['cosineSimilarity', 'index', 2_000],
    ['checkSupport', 'index', 2_000],
    ['parseSafetensors, encodeSafetensors', 'safetensors', 5_100],
    ['DINOv2, Features, PCA', 'worker', 8_000],
    ['EmbeddingIndex, ingest', 'search', 55_000],
  ])('%s of %s', async (names, entry, budget) => {
    const bytes = bytesOf(await bundle(use(names, entry)));
    tell(names, bytes);
    expect(bytes).toBeLessThanOrEqual(budget);
  });
});

/** Also written in the README. The lazy parts are those of a published model from a URL, loaded with default options. */
const FIRST_FEATURES_BYTES = 75_000;

test('downloaded until the first features of a JPEG', async () => {
  const chunks = await bundle(use('DINOv2', 'index'));
  const bytes = bytesOf(chunks, ['engine', 'selfTest', 'imageHeader', 'jpeg']);
  tell('until the first features', bytes);
  expect(bytes).toBeLessThanOrEqual(FIRST_FEATURES_BYTES);
});

test('the ImageNet class names are a separate lazy chunk', async () => {
  const chunks = await bundle(use('DINOv2', 'index'));
  expect(bytesOf(chunks, ['imagenetLabels']) - bytesOf(chunks)).toBeLessThanOrEqual(12_000);
});
