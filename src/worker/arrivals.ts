/** Images that have arrived in the worker. */
import { ImageError, type ImageSource } from '../index.js';
import type { SentImage } from './protocol.js';
import { receiveError } from './sentErrors.js';

/** What the library can use; or what makes it say, in its own words, why there is nothing to use. */
export function arrive(sent: SentImage): ImageSource {
  if (sent.kind === 'image') return sent.image;
  return (
    sent.kind === 'error' ? failing(receiveError(sent.error, undefined, [])) : unusable(sent)
  ) as ImageSource;
}

/** Gives back what a bitmap or frame holds: it was made for the journey. */
export function leave(image: ImageSource): void {
  if (
    (typeof ImageBitmap === 'function' && image instanceof ImageBitmap) ||
    (typeof VideoFrame === 'function' && image instanceof VideoFrame)
  )
    image.close();
}

/** Fails where the library first looks at it, as the image has failed in the page. */
function failing(error: unknown): object {
  const reason =
    error instanceof ImageError
      ? error
      : new ImageError(
          'IMAGE_TYPE',
          `Image: expected something that can be sent to a worker, found an error (${String(error)}). Hand in the file.`,
          { cause: error },
        );
  return {
    get [Symbol.toStringTag](): string {
      throw reason;
    },
  };
}

/** Stands in for a thing of the page without pixels: of its class, as far as the library looks. */
function unusable({ name, url = '', cause, data }: Extract<SentImage, { kind: 'unusable' }>): object {
  const { width = 0, height = 0 } = data ?? {};
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
      throw cause ? receiveError(cause, undefined, []) : new Error('There is no image.');
    },
  };
}
