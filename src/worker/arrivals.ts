/** Images that have arrived in the worker. */
import { ImageError, type ImageSource } from '../index.js';
import type { SentImage } from './protocol.js';
import { PageError } from './sendError.js';

/** What the library can use; or what makes it say, in its own words, why there is nothing to use. */
export function arrive(sent: SentImage): ImageSource {
  if (sent.name === undefined) return sent.image as ImageSource;
  const { error, failed, width, height } = sent;
  const cause = error && new PageError(error);
  const isEmpty = width === 0 || height === 0;
  // An empty one is refused for its size, and an <img> without a file for that.
  const isNamed = !cause || failed === 'load' || (isEmpty && failed !== 'decode');
  return (isNamed ? unusable(sent, cause) : failing(sent, cause)) as ImageSource;
}

/** Closes a bitmap or frame: it was made for the call. */
export function leave(image: unknown): void {
  if (
    (typeof ImageBitmap === 'function' && image instanceof ImageBitmap) ||
    (typeof VideoFrame === 'function' && image instanceof VideoFrame)
  )
    image.close();
}

/** Fails where the library first looks at it, as the image has failed in the page. */
function failing({ name = '', url = '', failed }: SentImage, cause: PageError): object {
  const plain = url.startsWith('data:') ? `${url.slice(0, 60)}…` : url.replace(/[?#].*$/s, '');
  const shown = name === 'HTMLImageElement' ? plain || '<img>' : name;
  const reason =
    failed === 'origin'
      ? new ImageError(
          'IMAGE_FETCH',
          `${shown}: expected pixels that this page may read, found some of another origin. Serve it with CORS headers and load it with crossorigin='anonymous'.`,
          { cause },
        )
      : failed === 'decode'
        ? new ImageError(
            'IMAGE_DECODE',
            `${shown}: expected an image, found an <img> that cannot be decoded (${String(cause)}). Use PNG, JPEG, WebP, or hand in the file.`,
            { cause },
          )
        : new ImageError(
            'IMAGE_TYPE',
            `Image: expected something that can be sent to a worker, found an error (${String(cause)}). Hand in the file.`,
            { cause },
          );
  return {
    get [Symbol.toStringTag](): string {
      throw reason;
    },
  };
}

/** Stands in for a thing of the page without pixels: of its class, as far as the library looks. */
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
    currentSrc: url,
    decode: async () => {
      throw cause ?? new Error('There is no image.');
    },
  };
}
