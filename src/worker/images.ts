/**
 * Sends images with the pixels that they have at the time of the call. Files and URLs are sent unchanged,
 * pixels in memory as a copy. An <img>, <canvas> or <video> is converted to an ImageBitmap or VideoFrame. If
 * an image cannot be used, the worker reports the error.
 */
import type { ImageSource, RawImage } from '../image/source.js';
import { kindOf } from '../optionObject.js';
import { baseUrl } from '../platform/baseUrl.js';
import type { Call } from './call.js';
import { KIND, type SentImage } from './protocol.js';

const usable = (image: unknown): SentImage => ({ [KIND]: 'image', image });

/**
 * Converts an image for sending. Never rejects: an unusable image becomes a description from which the
 * worker makes the error that the library throws in a page.
 * @param transfer receives the objects to transfer with the image
 */
export async function sendImage(
  source: ImageSource,
  call: Call,
  transfer: Transferable[],
): Promise<SentImage> {
  const name = kindOf(source);
  let failed: SentImage['failed'];
  const handOver = (made: ImageBitmap | VideoFrame): SentImage => {
    transfer.push(made);
    return usable(made);
  };
  /** Sends a bitmap or frame that was made for the call. Throws if the page may not read its pixels. */
  const take = (made: ImageBitmap | VideoFrame): SentImage => {
    failed = 'origin';
    try {
      return handOver(structuredClone(made, { transfer: [made] }));
    } finally {
      made.close();
    }
  };
  const withOwn = (own: Uint8Array<ArrayBuffer>): Uint8Array => {
    transfer.push(own.buffer);
    return own;
  };
  try {
    switch (name) {
      case 'String':
      case 'URL':
        return usable(absolute(String(source)));
      case 'Uint8Array':
      case 'ArrayBuffer':
        return usable(withOwn(new Uint8Array(source as ArrayBuffer).slice()));
      case 'Blob':
      case 'File':
        return usable(source);
      case 'ImageBitmap':
        failed = 'origin';
        return handOver(structuredClone(source as ImageBitmap)); // the clone is sent
      case 'VideoFrame':
        return take((source as VideoFrame).clone());
      case 'HTMLImageElement': {
        const element = source as HTMLImageElement;
        if (!element.complete || element.naturalWidth === 0) {
          failed = 'load';
          await element.decode();
        }
        // Decodes as the library does: without colour management, and without premultiplied alpha.
        failed = 'decode';
        return take(
          await createImageBitmap(element, {
            imageOrientation: 'from-image',
            colorSpaceConversion: 'none',
            premultiplyAlpha: 'none',
          }),
        );
      }
      case 'HTMLVideoElement': // a frame keeps the colours that the GPU would receive from the video
        return take(new VideoFrame(source as HTMLVideoElement));
      case 'HTMLCanvasElement':
      case 'OffscreenCanvas':
        return take(await createImageBitmap(source as HTMLCanvasElement));
      default: {
        const { data, width, height, channels } = (source ?? {}) as Partial<RawImage>;
        if (!ArrayBuffer.isView(data)) return { [KIND]: 'image', name };
        const isImageData = name === 'ImageData';
        // Other element types are sent unchanged: the library rejects them.
        if (!/^Uint8(Clamped)?Array$/.test(kindOf(data)))
          return usable(isImageData ? source : { data, width, height, channels });
        // The pixels are copied now, because the caller may overwrite them before the message is sent.
        const own = withOwn(copied(data as Uint8Array));
        return usable({ data: own, width, height, channels: isImageData ? 4 : channels });
      }
    }
  } catch (error) {
    const { currentSrc, src, width, height, videoWidth, videoHeight, displayWidth, displayHeight } =
      source as Partial<HTMLImageElement & HTMLVideoElement & VideoFrame>;
    return {
      [KIND]: 'image',
      name,
      url: currentSrc || src,
      width: displayWidth ?? videoWidth ?? width,
      height: displayHeight ?? videoHeight ?? height,
      failed,
      error: call.describe(error),
    };
  }
}

/** Resolves a URL against the page, because the worker would resolve it against the URL of its own file. */
function absolute(url: string): string {
  try {
    return new URL(url, baseUrl()).href;
  } catch {
    return url; // the worker reports the error, which names the URL
  }
}

/** Closes the bitmaps and frames that were made for a message that could not be sent. */
export function discard(transfer: readonly Transferable[] = []): void {
  for (const each of transfer) if ('close' in each) each.close();
}

/**
 * Copies a typed array and its memory. `Buffer.prototype.slice` would share memory with the caller, and a
 * transfer would then detach the caller's memory.
 */
export const copied = <Values extends { slice(): unknown }>(values: Values): ReturnType<Values['slice']> =>
  Reflect.apply(Uint8Array.prototype.slice as CallableFunction, values, []) as ReturnType<Values['slice']>;
