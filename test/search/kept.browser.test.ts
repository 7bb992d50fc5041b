// Storage usage and loss as reported by EmbeddingIndex, in Chromium.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { EmbeddingIndex } from '../../src/search/embeddingIndex.ts';
import { deleteIndex } from '../../src/search/store/catalogue.ts';

const NAME = 'usage';
const DIM = 384;
const vector = (seed: number): Float32Array =>
  Float32Array.from({ length: DIM }, (_, i) => Math.sin(seed * DIM + i));
const open = (): Promise<EmbeddingIndex> =>
  EmbeddingIndex.open(NAME, { dim: DIM, storage: 'f32', device: 'cpu' });
const forget = async (): Promise<void> => void (await deleteIndex(NAME));
beforeEach(forget);
afterEach(forget);

test('replaced data is counted as wasted, and compact frees it', async () => {
  const index = await open();
  for (let i = 0; i < 4; i++) await index.add(`item ${i}`, vector(i));
  await index.addMany(Array.from({ length: 4 }, (_, i) => ({ id: `more ${i}`, vector: vector(10 + i) })));
  await index.update('more 0', { vector: vector(20) });
  const before = await index.usage();
  expect(before).toMatchObject({ items: 8, wastedBytes: 4 * DIM });
  expect(before.bytes).toBeGreaterThan(9 * 4 * DIM);
  await index.compact();
  const after = await index.usage();
  expect(after).toMatchObject({ items: 8, wastedBytes: 0 });
  expect(after.bytes).toBeLessThan(before.bytes);
  index.dispose();
  await expect(index.usage()).rejects.toMatchObject({ code: 'INDEX_DISPOSED' });
  using again = await open();
  expect(again.size).toBe(8);
  expect(again.vector('more 0')[0]).toBeCloseTo(vector(20)[0]! / Math.hypot(...vector(20)), 6);
});

test('an index whose database was lost reports `restored`', async () => {
  const first = await open();
  await first.add('a', vector(1), undefined, { thumbnail: new Blob(['picture'], { type: 'image/webp' }) });
  await first.setState('key', 1);
  expect(first.restored).toBe(false);
  first.dispose();
  await new Promise<void>((resolve, reject) => {
    const deleting = indexedDB.deleteDatabase(`dinov2-webgpu-search/${NAME}`);
    deleting.onsuccess = () => resolve();
    deleting.onerror = () => reject(deleting.error as Error);
  });
  using again = await open();
  expect(again.restored).toBe(true);
  expect(again.ids()).toEqual(['a']);
  expect(await again.thumbnail('a')).toBeUndefined();
  expect(await again.getState('key')).toBeUndefined();
});

test('an index in memory uses no storage', async () => {
  const index = new EmbeddingIndex({ dim: DIM, device: 'cpu' });
  await index.add('a', vector(1));
  await index.compact();
  expect(await index.usage()).toEqual({ items: 1, bytes: 0, wastedBytes: 0 });
  expect(index.restored).toBe(false);
});
