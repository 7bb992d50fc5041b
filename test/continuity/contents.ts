/** Expected contents of the indexes in test/fixtures/continuity, and a check that an index has them. */
import { expect } from 'vitest';
import type { EmbeddingIndex, IndexHeader, PatchTokens } from '../../src/search.ts';

/** The `contents` field of an index.*.json fixture. */
export interface Contents {
  readonly header: IndexHeader;
  /** `vector` and the thumbnail's bytes are base64. */
  readonly items: readonly {
    readonly id: string;
    readonly vector: string;
    readonly metadata: unknown;
    readonly thumbnail: { readonly type: string; readonly base64: string } | null;
  }[];
  readonly query: readonly number[];
  readonly hits: readonly (readonly [id: string, score: number])[];
  /** Results of `searchByPart(partQuery)`. */
  readonly parts: readonly (readonly [id: string, score: number, box: unknown])[];
}

/** The query patches for `parts`, computed by a formula. */
export const partQuery = (dim: number): PatchTokens => ({
  rows: 2,
  cols: 3,
  tokens: Float32Array.from({ length: 6 * dim }, (_, i) => Math.cos(1 + i)),
});

export const bytesOf = (base64: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

/** Checks header, ids in order, metadata, vectors bit for bit, and search results with their scores. */
export async function expectContents(
  index: EmbeddingIndex,
  { header, items, query, hits, parts }: Contents,
): Promise<void> {
  expect(index.header).toEqual(header);
  expect(index.ids()).toEqual(items.map(({ id }) => id));
  for (const { id, vector, metadata } of items) {
    expect(index.metadata(id), id).toEqual(metadata);
    expect(new Uint8Array(index.vector(id).buffer), id).toEqual(bytesOf(vector));
  }
  const found = await index.search(query, { topK: 10 });
  expect(found.map(({ id, score }) => [id, score])).toEqual(hits);
  if (header.patches === 'none') return;
  const byPart = await index.searchByPart(partQuery(header.dim));
  expect(byPart.map(({ id, score, box }) => [id, score, box])).toEqual(parts);
}
