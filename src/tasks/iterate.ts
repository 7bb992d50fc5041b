/** Takes the images of a call one after the other. */
import { wrongKind } from '../optionObject.js';

/**
 * The iterator of a list or stream of images.
 * @throws OptionError OPTION_VALUE for what is none, such as a single image: a string would give its letters,
 *   and bytes would give numbers
 */
export function iteratorOf<Image>(
  images: Iterable<Image> | AsyncIterable<Image>,
): Iterator<Image> | AsyncIterator<Image> {
  if (typeof images === 'object' && images && !ArrayBuffer.isView(images)) {
    if (Symbol.asyncIterator in images) return images[Symbol.asyncIterator]();
    if (Symbol.iterator in images) return images[Symbol.iterator]();
  }
  throw wrongKind('embedAll', 'an array of images, or another iterable (for one image use embed())', images);
}
