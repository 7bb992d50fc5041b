// The examples of docs/guide/export.md find what `search` finds: FAISS and NumPy in Python, pgvector in
// PGlite, which is Postgres.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddingIndex, type Hit, type VectorStorage } from '../../src/search.ts';
import { putBuild } from '../builds.ts';
import { Random } from '../random.ts';
import { blocksOf, placeOf, type Block } from './blocks.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const blocks = blocksOf('docs/guide/export.md').filter((block) => block.notRun === undefined);
const [DIM, COUNT] = [384, 500];

let folder: string;
let python: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'export-'));
  await putBuild('library', join(folder, 'node_modules/dinov2-webgpu/dist'));
  symlinkSync(join(root, 'package.json'), join(folder, 'node_modules/dinov2-webgpu/package.json'));
  symlinkSync(join(root, 'site/node_modules/@electric-sql'), join(folder, 'node_modules/@electric-sql'));
  const script = join(root, 'scripts/get-faiss.sh');
  python = execFileSync(script, [join(root, 'node_modules/.cache/faiss')], { encoding: 'utf8' }).trim();
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Writes the files that the page names, and returns the hits of `search`. */
async function exported(storage: VectorStorage): Promise<Hit[]> {
  const random = new Random(7);
  const vector = (): Float32Array => random.uniform(DIM);
  const index = new EmbeddingIndex({ dim: DIM, storage, device: 'cpu' });
  const items = Array.from({ length: COUNT }, (_, i) => ({
    id: `photos/${i} ü.jpg`,
    vector: vector(),
    metadata: i % 3 === 0 ? null : { size: i },
  }));
  await index.addMany(items);
  const query = vector();
  const length = Math.hypot(...query);
  const scaled = query.map((value) => value / length);
  const { npy, ids } = await index.exportNpy();
  const write = async (name: string, blob: Blob): Promise<void> =>
    writeFileSync(join(folder, name), Buffer.from(await blob.arrayBuffer()));
  await write('photos.safetensors', await index.export());
  await write('vectors.npy', npy);
  await write('ids.json', ids);
  writeFileSync(join(folder, 'query.json'), JSON.stringify([...scaled]));
  return index.search(scaled, { topK: 10 });
}

/** Runs a block, whose output is an id and a score in each line. */
function hitsOf({ text }: Block): { id: string; score: number }[] {
  const isNode = text.includes('@electric-sql');
  const file = join(folder, isNode ? 'block.mjs' : 'block.py');
  mkdirSync(folder, { recursive: true });
  writeFileSync(file, text);
  const output = execFileSync(isNode ? process.execPath : python, [file], { cwd: folder, encoding: 'utf8' });
  return output
    .trim()
    .split('\n')
    .map((line) => {
      const end = line.lastIndexOf(' ');
      return { id: line.slice(0, end), score: Number(line.slice(end)) };
    });
}

const examples = blocks
  .filter((block) => placeOf(block) === 'python' || placeOf(block) === 'node')
  .map((block) => ({
    name: block.text.includes('faiss') ? 'FAISS' : placeOf(block) === 'node' ? 'pgvector' : 'NumPy',
    block,
  }));

test('the page has three examples that run', () => {
  expect(examples.map(({ name }) => name)).toEqual(['FAISS', 'NumPy', 'pgvector']);
});

/** Rounding of float32 sums in FAISS and pgvector, and of float64 sums in another order in NumPy. */
const TOLERANCE: Readonly<Record<string, number>> = { FAISS: 1e-6, pgvector: 1e-6, NumPy: 1e-12 };

// PGlite takes seconds to start, and reads an export through this library: one format is enough for it.
const cases = (['f32', 'f16', 'int8'] as const)
  .flatMap((storage) => examples.map((each) => ({ ...each, storage })))
  .filter(({ name, storage }) => name !== 'pgvector' || storage === 'int8');

test.each(cases)(
  '$name finds the hits of search in an export of $storage',
  async ({ name, block, storage }) => {
    const expected = await exported(storage);
    const found = hitsOf(block);
    expect(found.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
    found.forEach(({ score }, i) =>
      expect(Math.abs(score - expected[i]!.score)).toBeLessThanOrEqual(TOLERANCE[name]!),
    );
  },
);
