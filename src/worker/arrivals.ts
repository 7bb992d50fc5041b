/** Restores, in the worker, the images that the page has sent. */
import { ImageError, type ImageSource } from '../index.js';
import type { SentImage } from './protocol.js';
import { PageError } from './sendError.js';

/**
 * Returns an image that the library can use. If the page could not send the image, returns an object for
 * which the library throws the matching error.
 */
export function arrive(sent: SentImage): ImageSource {
  if (sent.name === undefined) return sent.image as ImageSource;
  const { error, failed, width, height } = sent;
  const cause = error && new PageError(error);
  const isEmpty = width === 0 || height === 0;
  // The library has errors of its own for empty images, and for an <img> whose file did not load.
  const isNamed = !cause || failed === 'load' || (isEmpty && failed !== 'decode');
  return (isNamed ? unusable(sent, cause) : failing(sent, cause)) as ImageSource;
}

/** Closes a bitmap or frame that was made for the call. */
export const close = (image: unknown): void => (image as Partial<ImageBitmap> | undefined)?.close?.();

/** Makes an object that throws an ImageError when the library asks for its class. */
function failing({ name = '', url = '', failed }: SentImage, cause: PageError): object {
  const plain = url.startsWith('data:') ? `${url.slice(0, 60)}…` : url.replace(/[?#].*$/s, '');
  const shown = name === 'HTMLImageElement' ? plain || '<img>' : name;
  const error =
    failed === 'origin'
      ? new ImageError(
          'IMAGE_FETCH',
          `${shown}: expected pixels that this page may read, found pixels from a different origin. Serve the image with CORS headers and load it with crossorigin='anonymous'.`,
          { cause },
        )
      : failed === 'decode'
        ? new ImageError(
            'IMAGE_DECODE',
            `${shown}: the <img> cannot be decoded (${String(cause)}). Use PNG, JPEG or WebP, or pass the file.`,
            { cause },
          )
        : new ImageError(
            'IMAGE_TYPE',
            `Image: the image cannot be sent to a worker (${String(cause)}). Pass the file.`,
            { cause },
          );
  return {
    get [Symbol.toStringTag](): string {
      throw error;
    },
  };
}

/**
 * Makes an object without pixels, which the library takes for an object with the class and size of the
 * page's image.
 */
function unusable(
  { name, url = '', width = 0, height = 0 }: SentImage,
  cause: PageError | undefined,
): object {
  return {
    [Symbol.toStringTag]: name,
    width,
    height,
    videoWidth: width,
    videoHeight: height,
    displayWidth: width,
    displayHeight: height,
    complete: false,
    src: url,
    decode: () => Promise.reject(cause),
  };
}
