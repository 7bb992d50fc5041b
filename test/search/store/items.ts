/** Items for the store tests. Their contents follow from id and version, so every tab knows what is right. */
import type { IndexHeader, StoredItem } from '../../../src/search/journal.ts';

export const DIM = 16;

export const header: IndexHeader = {
  format: 1,
  dim: DIM,
  metric: 'cosine',
  storage: 'f32',
  patches: 'f16',
  model: {
    id: 'facebook/dinov2-small',
    fingerprint: '0123456789abcdef'.repeat(4),
    preprocessing: 'resize 256, crop 224, cls',
  },
};

/** Pseudorandom bytes determined by a text. */
export function bytesOf(text: string, length: number): Uint8Array<ArrayBuffer> {
  let state = 2166136261;
  for (let i = 0; i < text.length; i++) state = Math.imul(state ^ text.charCodeAt(i), 16777619);
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state >>> 24;
  });
}

export function makeItem(
  id: string,
  version = 0,
  { patches = true, thumbnail = true, vectorBytes = DIM * 4 } = {},
): StoredItem {
  const text = `${id}/${version}`;
  return {
    id,
    vector: bytesOf(text, vectorBytes),
    metadata: { name: `${id}.jpg`, version, tags: ['a', '\u00e4', '\ud83d\ude00'] },
    ...(patches && { patches: { rows: 2, cols: 3, data: bytesOf(`${text} patches`, 2 * 3 * DIM * 2) } }),
    ...(thumbnail && { thumbnail: new Blob([bytesOf(`${text} thumbnail`, 40)], { type: 'image/webp' }) }),
  };
}

/** Describes the first difference of an item from its expected contents; undefined if there is none. */
export function faultOf(item: StoredItem, options?: Parameters<typeof makeItem>[2]): string | undefined {
  const { version } = item.metadata as { version: number };
  const right = makeItem(item.id, version, options);
  const same = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
    a?.length === b?.length && (a ?? []).every((byte, i) => byte === b![i]);
  if (!same(item.vector, right.vector)) return `${item.id}: vector`;
  if (
    !same(item.patches?.data, right.patches?.data) ||
    item.patches?.rows !== right.patches?.rows ||
    item.patches?.cols !== right.patches?.cols
  )
    return `${item.id}: patches`;
  return JSON.stringify(item.metadata) === JSON.stringify(right.metadata)
    ? undefined
    : `${item.id}: metadata`;
}

export async function readAll(items: AsyncIterable<StoredItem>): Promise<StoredItem[]> {
  const found: StoredItem[] = [];
  for await (const item of items) found.push(item);
  return found;
}

export const versionsOf = (items: readonly StoredItem[]): Record<string, number> =>
  Object.fromEntries(items.map(({ id, metadata }) => [id, (metadata as { version: number }).version]));
