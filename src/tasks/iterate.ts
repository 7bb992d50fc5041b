/** Gets an iterator over the images that a caller passes as a list or stream. */

/**
 * Returns the iterator of a list or stream of images. Returns undefined for anything else, in particular for
 * a single image given as a string (which would iterate over characters) or as bytes (which would iterate
 * over numbers).
 */
export function iteratorOf<Image>(
  images: Iterable<Image> | AsyncIterable<Image>,
): Iterator<Image> | AsyncIterator<Image> | undefined {
  if (typeof images !== 'object' || !images || ArrayBuffer.isView(images)) return undefined;
  if (Symbol.asyncIterator in images) return images[Symbol.asyncIterator]();
  return Symbol.iterator in images ? images[Symbol.iterator]() : undefined;
}
