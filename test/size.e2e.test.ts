/** Download sizes of pages that use the library: bundled with tree shaking, minified and gzipped. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundle, bytesOf, FIRST_FEATURES, IMPORTS, use } from '../scripts/sizes.mjs';
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

const tell = (what: string, bytes: number): void =>
  console.log(`${what}: ${(bytes / 1000).toFixed(1)} kB gzipped`);

test('index.js only re-exports: with a definition in it, a page would load every lazy file with it', () => {
  const lines = readFileSync(join(folder, 'dist/index.js'), 'utf8').trim().split('\n');
  expect(lines.filter((line) => !/^(import|export) |^\/\/# /.test(line))).toEqual([]);
});

/** Size budgets, slightly above the current sizes: growth has to be a decision. */
describe('evaluated by an import', () => {
  const limits = [8_200, 17_000, 2_000, 2_000, 5_100, 8_000, 56_000];
  test.each(IMPORTS.map(([names, entry], i) => [names, entry, limits[i]!] as const))(
    '%s of %s',
    async (names, entry, budget) => {
      const bytes = bytesOf(await bundle(folder, use(names, entry)));
      tell(names, bytes);
      expect(bytes).toBeLessThanOrEqual(budget);
    },
  );
});

/** Also written in the README. */
const FIRST_FEATURES_BYTES = 75_000;

test('downloaded until the first features of a JPEG', async () => {
  const chunks = await bundle(folder, use('DINOv2', 'index'));
  const bytes = bytesOf(chunks, FIRST_FEATURES);
  tell('until the first features', bytes);
  expect(bytes).toBeLessThanOrEqual(FIRST_FEATURES_BYTES);
});

test('the ImageNet class names are a separate lazy chunk', async () => {
  const chunks = await bundle(folder, use('DINOv2', 'index'));
  expect(bytesOf(chunks, ['imagenetLabels']) - bytesOf(chunks)).toBeLessThanOrEqual(12_000);
});
