/**
 * Images on their way to the worker, with the pixels that they have here. Files and URLs are sent as they are,
 * pixels in memory as a copy; what belongs to the page (<img>, <canvas>, <video>) becomes a bitmap or frame
 * of what it shows at the time of the call. What is wrong with an image is said in the worker.
 */
import type { ImageSource, RawImage } from '../image/source.js';
import { kindOf } from '../optionObject.js';
import { baseUrl } from '../platform/baseUrl.js';
import type { Call } from './call.js';
import { KIND, type SentImage } from './protocol.js';

type Transfer = Transferable[];

const usable = (image: unknown): SentImage => ({ [KIND]: 'image', image });

/**
 * Never rejects: an image that cannot be used is an error in the worker, as it is where the model runs in the
 * page.
 * @param transfer gets what goes without a copy
 */
export async function sendImage(source: ImageSource, call: Call, transfer: Transfer): Promise<SentImage> {
  const name = kindOf(source);
  let failed: SentImage['failed'];
  const handOver = (made: ImageBitmap | VideoFrame): SentImage => {
    transfer.push(made);
    return usable(made);
  };
  /** Takes pixels of the page, if the page may read them. */
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
        return handOver(structuredClone(source as ImageBitmap)); // the caller's stays open
      case 'VideoFrame':
        return take((source as VideoFrame).clone());
      case 'HTMLImageElement': {
        const element = source as HTMLImageElement;
        if (!element.complete || element.naturalWidth === 0) {
          failed = 'load';
          await element.decode();
        }
        failed = 'decode'; // anew, as the library does it: without colour management and premultiplied alpha
        return take(
          await createImageBitmap(element, {
            imageOrientation: 'from-image',
            colorSpaceConversion: 'none',
            premultiplyAlpha: 'none',
          }),
        );
      }
      case 'HTMLVideoElement': // a frame has the colours that a video has on its way to the GPU
        return take(new VideoFrame(source as HTMLVideoElement));
      case 'HTMLCanvasElement':
      case 'OffscreenCanvas':
        return take(await createImageBitmap(source as HTMLCanvasElement));
      default: {
        const { data, width, height, channels } = (source ?? {}) as Partial<RawImage>;
        if (!ArrayBuffer.isView(data)) return { [KIND]: 'image', name };
        const isImageData = name === 'ImageData';
        // The library refuses other numbers itself.
        if (!/^Uint8(Clamped)?Array$/.test(kindOf(data)))
          return usable(isImageData ? source : { data, width, height, channels });
        // As they are now: the caller may refill its memory before the message goes.
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

/** A worker would resolve it against its own file. */
function absolute(url: string): string {
  try {
    return new URL(url, baseUrl()).href;
  } catch {
    return url; // fetching it is an error there, with its name
  }
}

/** Closes what was made for a call that does not take place. */
export function discard(transfer: readonly Transferable[] = []): void {
  for (const each of transfer) if ('close' in each) each.close();
}

/** A copy with memory of its own. The `slice` of a `Buffer` copies nothing, and its memory would go with the message. */
export const copied = <Values extends { slice(): unknown }>(values: Values): ReturnType<Values['slice']> =>
  Reflect.apply(Uint8Array.prototype.slice as CallableFunction, values, []) as ReturnType<Values['slice']>;
