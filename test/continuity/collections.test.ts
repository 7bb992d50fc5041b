// Collections exported by a build of commit 85ff786 are imported bit for bit.
import { expect, test } from 'vitest';
import { EmbeddingIndex } from '../../src/search.ts';
import { expectContents, type Contents } from './contents.ts';
import { fixture, indexNames, jsonFixture } from './fixtures.ts';

test.each(indexNames)('%s: import, search, add, export and merge', async (name) => {
  const file = new Blob([fixture(`collection.${name}.safetensors`)]);
  const { contents } = jsonFixture<{ contents: Contents }>(`index.${name}.json`);
  const { model, dim } = contents.header;
  using index = await EmbeddingIndex.import(file, { device: 'cpu', model });
  await expectContents(index, contents);
  using copy = await EmbeddingIndex.import(await index.export(), { device: 'cpu', model });
  await expectContents(copy, contents);
  await index.add('new', new Float32Array(dim).fill(1));
  expect(index.size).toBe(contents.items.length + 1);
  using merged = new EmbeddingIndex({ ...contents.header, device: 'cpu' });
  await merged.importFrom(file);
  await expectContents(merged, contents);
});
