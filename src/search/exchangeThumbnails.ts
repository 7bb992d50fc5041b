/**
 * The thumbnails in an exported index, as three tensors:
 *
 *   thumbnails       U8: the bytes of all thumbnails, one after the other, in the order of the items
 *   thumbnail_sizes  (count) U32: size of each thumbnail in bytes, 0 if an item has none
 *   thumbnail_types  U8: a JSON array of MIME types in UTF-8, one for each item, '' if an item has none.
 *                    Types that could hold code become application/octet-stream when they are read
 */
import type { SafetensorsHeader, TensorSpec } from '../safetensors/format.js';
import type { IndexError } from '../errors.js';
import { parseJsonText } from '../platform/json.js';
import { BlobWriter } from './blobWriter.js';

/** Names of the tensors. */
export const THUMBNAIL_TENSORS: readonly string[] = ['thumbnails', 'thumbnail_sizes', 'thumbnail_types'];

const MOST_TYPE_CHARACTERS = 127;

/** A tensor to write: its type, shape and bytes. */
type Written = TensorSpec & { readonly parts: readonly BlobPart[] };

/**
 * Reads the thumbnails of the items, one at a time, and returns their tensors. Returns undefined if no item
 * has a thumbnail.
 */
export async function writeThumbnails(
  ids: readonly string[],
  thumbnail: (id: string) => Promise<Blob | undefined>,
): Promise<Map<string, Written> | undefined> {
  const writer = new BlobWriter();
  const sizes = new Uint32Array(ids.length);
  const types: string[] = [];
  let total = 0;
  for (const [i, id] of ids.entries()) {
    const blob = await thumbnail(id);
    types.push(blob?.type ?? '');
    if (!blob) continue;
    sizes[i] = blob.size;
    total += blob.size;
    writer.add(new Uint8Array(await blob.arrayBuffer()));
  }
  if (total === 0) return undefined;
  const list = new TextEncoder().encode(JSON.stringify(types));
  return new Map<string, Written>([
    ['thumbnails', { dtype: 'U8', shape: [total], parts: writer.parts() }],
    ['thumbnail_sizes', { dtype: 'U32', shape: [ids.length], parts: [sizes] }],
    ['thumbnail_types', { dtype: 'U8', shape: [list.length], parts: [list] }],
  ]);
}

/**
 * Reads the thumbnails of a file. Returns one element for each item, undefined if the item has none.
 * @param count number of items
 * @param read reads a tensor of this name, type and shape
 * @param fileError makes the error for a damaged file
 * @throws IndexError INDEX_FILE
 */
export async function readThumbnails(
  count: number,
  { tensors }: SafetensorsHeader,
  file: Blob,
  read: (name: string, dtype: string, shape: readonly number[]) => Promise<Uint8Array<ArrayBuffer>>,
  fileError: (expected: string, found: string, cause?: unknown) => IndexError,
): Promise<(Blob | undefined)[]> {
  const sizes = new Uint32Array((await read('thumbnail_sizes', 'U32', [count])).buffer);
  const types = typesOf(
    await read('thumbnail_types', 'U8', tensors.get('thumbnail_types')!.shape.slice(0, 1)),
    count,
    fileError,
  );
  const { dtype, shape, begin } = tensors.get('thumbnails')!;
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (dtype !== 'U8' || shape.join() !== String(total))
    throw fileError(`thumbnails of type U8 and shape (${total})`, `${dtype} and (${shape.join(', ')})`);
  const thumbnails: (Blob | undefined)[] = [];
  let at = begin;
  for (const [i, size] of sizes.entries()) {
    // The bytes are copied, so that the thumbnail stays readable if the file changes on disk.
    const bytes = size > 0 ? await file.slice(at, at + size).arrayBuffer() : undefined;
    thumbnails.push(bytes && new Blob([bytes], { type: safeType(types[i]!) }));
    at += size;
  }
  return thumbnails;
}

/**
 * Returns the type of an image that holds no code, else a type that browsers never open as a page. A Blob of
 * type text/html or image/svg+xml runs its scripts with the rights of this page if its URL is opened in a tab.
 * An <img> shows an image of any type except SVG.
 */
const safeType = (type: string): string =>
  /^image\/(png|jpeg|webp|gif|avif|bmp)$/.test(type) ? type : 'application/octet-stream';

function typesOf(
  bytes: Uint8Array<ArrayBuffer>,
  count: number,
  fileError: (expected: string, found: string, cause?: unknown) => IndexError,
): string[] {
  let list: unknown;
  try {
    list = parseJsonText(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw fileError('thumbnail_types as JSON in UTF-8', String(cause), cause);
  }
  const isType = (type: unknown): boolean =>
    typeof type === 'string' && type.length <= MOST_TYPE_CHARACTERS && !/[^\x20-\x7e]/.test(type);
  if (!Array.isArray(list) || list.length !== count || !list.every(isType))
    throw fileError(
      `thumbnail_types to be ${count} MIME types`,
      Array.isArray(list) ? `${list.length} values` : typeof list,
    );
  return list as string[];
}
