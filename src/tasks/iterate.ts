/** Takes the images of a call one after the other. */

/**
 * The iterator of a list or stream of images. Undefined for anything else, such as a single image: a string would
 * give its letters, and bytes would give numbers.
 */
export function iteratorOf<Image>(
  images: Iterable<Image> | AsyncIterable<Image>,
): Iterator<Image> | AsyncIterator<Image> | undefined {
  if (typeof images !== 'object' || !images || ArrayBuffer.isView(images)) return undefined;
  if (Symbol.asyncIterator in images) return images[Symbol.asyncIterator]();
  return Symbol.iterator in images ? images[Symbol.iterator]() : undefined;
}
