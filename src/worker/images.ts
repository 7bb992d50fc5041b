/**
 * Images on their way to the worker, with the pixels that they have here. Files and URLs cross as they are,
 * pixels in memory as a copy; what belongs to the page (<img>, <canvas>, <video>) becomes a bitmap or frame
 * of what it holds at this moment.
 */
import { ImageError } from '../errors.js';
import type { ImageSource, RawImage } from '../image/source.js';
import type { Handed, SentImage } from './protocol.js';
import { sendError } from './sentErrors.js';

type HandedImage = Handed<SentImage>;

const kindOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);
const as = (
  image: Extract<SentImage, { kind: 'image' }>['image'],
  transfer: Transferable[] = [],
): HandedImage => ({ value: { kind: 'image', image }, transfer });
const isList = (image: unknown): image is readonly ImageSource[] => Array.isArray(image);

/** What relative URLs count from. */
export const baseUrl = (): string | undefined => globalThis.document?.baseURI ?? globalThis.location?.href;

/** One image or several, as one message carries them. */
export async function sendImages(
  images: ImageSource | readonly ImageSource[],
): Promise<Handed<SentImage | SentImage[]>> {
  if (!isList(images)) return sendImage(images);
  const each = await Promise.all(images.map(sendImage));
  return { value: each.map(({ value }) => value), transfer: each.flatMap(({ transfer }) => transfer) };
}

/**
 * Never rejects: an image that cannot be used is an error in the worker, as it is where the model runs in the
 * page.
 */
export async function sendImage(source: ImageSource): Promise<HandedImage> {
  try {
    return await convert(source);
  } catch (error) {
    return { value: { kind: 'error', error: sendError(error) }, transfer: [] };
  }
}

async function convert(source: ImageSource): Promise<HandedImage> {
  const kind = kindOf(source);
  switch (kind) {
    case 'String':
    case 'URL':
      return as(absolute(String(source)));
    case 'Blob':
    case 'File':
      return as(source as Blob);
    case 'Uint8Array':
    case 'ArrayBuffer': {
      const own = new Uint8Array(source as Uint8Array | ArrayBuffer).slice();
      return as(own, [own.buffer]);
    }
    case 'ImageData':
      return ofImageData(source as ImageData);
    case 'ImageBitmap':
    case 'VideoFrame':
      return copyOf(source as ImageBitmap | VideoFrame, kind);
    case 'HTMLImageElement':
      return ofElement(source as HTMLImageElement);
    case 'HTMLCanvasElement':
    case 'OffscreenCanvas': {
      const canvas = source as HTMLCanvasElement | OffscreenCanvas;
      if (canvas.width === 0 || canvas.height === 0) return unusable(kind, { data: emptyOf(canvas) });
      return handOver(await createImageBitmap(canvas), kind);
    }
    case 'HTMLVideoElement':
      return ofVideo(source as HTMLVideoElement, kind);
    default:
      return ofBytes(source as RawImage, kind);
  }
}

const unusable = (
  name: string,
  more: Omit<Extract<SentImage, { kind: 'unusable' }>, 'kind' | 'name'> = {},
): HandedImage => ({ value: { kind: 'unusable', name, ...more }, transfer: [] });

/** Width and height of what has no pixels: for the worker's message. */
const emptyOf = ({ width, height }: { width: number; height: number }): RawImage => ({
  data: new Uint8Array(0),
  width,
  height,
});

/** A worker would count from its own file. */
function absolute(url: string): string {
  try {
    return new URL(url, baseUrl()).href;
  } catch {
    return url; // fetching it is an error there, with its name
  }
}

/** The caller's own stays open. A copy of a bitmap is one of its memory; frames share theirs. */
function copyOf(source: ImageBitmap | VideoFrame, kind: string): HandedImage {
  const [width, height] =
    'displayWidth' in source ? [source.displayWidth, source.displayHeight] : [source.width, source.height];
  if (width === 0 || height === 0) return unusable(kind, { data: emptyOf({ width, height }) });
  if ('displayWidth' in source) return handOver(source.clone(), kind);
  try {
    const copy = structuredClone(source);
    return as(copy, [copy]);
  } catch (cause) {
    throw notReadable(kind, cause);
  }
}

/** Goes without a copy, if the page may read it. */
function handOver(made: ImageBitmap | VideoFrame, name: string): HandedImage {
  let sent: ImageBitmap | VideoFrame;
  try {
    sent = structuredClone(made, { transfer: [made] });
  } catch (cause) {
    made.close();
    throw notReadable(name, cause);
  }
  return as(sent, [sent]);
}

const notReadable = (name: string, cause: unknown): ImageError =>
  new ImageError(
    'IMAGE_FETCH',
    `${name}: expected pixels that this page may read, found some of another origin. Serve it with CORS headers and load it with crossorigin='anonymous'.`,
    { cause },
  );

/** Decoded anew, as `decodeSource` does it: without colour management and premultiplied alpha. */
async function ofElement(element: HTMLImageElement): Promise<HandedImage> {
  const url = element.currentSrc || element.src;
  if (!element.complete || element.naturalWidth === 0) {
    try {
      await element.decode();
    } catch (cause) {
      return unusable('HTMLImageElement', { url, cause: sendError(cause) });
    }
  }
  const name = url.startsWith('data:') ? `${url.slice(0, 60)}…` : url.replace(/[?#].*$/s, '') || '<img>';
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(element, {
      imageOrientation: 'from-image',
      colorSpaceConversion: 'none',
      premultiplyAlpha: 'none',
    });
  } catch (cause) {
    throw new ImageError(
      'IMAGE_DECODE',
      `${name}: expected an image, found an <img> that cannot be decoded (${String(cause)}). Use PNG, JPEG, WebP, or hand in the file.`,
      { cause },
    );
  }
  return handOver(bitmap, name);
}

/**
 * A frame has the colours that a video has on its way to the GPU; a bitmap may have been converted by another
 * way.
 */
async function ofVideo(video: HTMLVideoElement, kind: string): Promise<HandedImage> {
  const { videoWidth: width, videoHeight: height } = video;
  if (width === 0 || height === 0 || video.readyState < 2)
    return unusable(kind, { data: emptyOf(width === 0 ? { width: 0, height: 0 } : { width, height }) });
  return handOver(
    typeof VideoFrame === 'function' ? new VideoFrame(video) : await createImageBitmap(video),
    kind,
  );
}

/** As it is now: its memory may be refilled before the message goes. */
function ofImageData(image: ImageData): HandedImage {
  const { data, width, height } = image;
  if (kindOf(data) !== 'Uint8ClampedArray') return as(image); // the worker says what is wrong with it
  const own = copied(data);
  return as({ data: own, width, height, channels: 4 }, [own.buffer]);
}

function ofBytes(source: Partial<RawImage> | null | undefined, kind: string): HandedImage {
  const { data, width, height, channels } = source ?? {};
  if (!ArrayBuffer.isView(data)) return unusable(kind);
  const rest = {
    width: width as number,
    height: height as number,
    ...(channels === undefined ? {} : { channels }),
  };
  if (data instanceof DataView) return as({ data, ...rest }); // the worker says what is wrong with it
  const own = copied(data); // as it is now, not when the message goes: the caller may refill it
  return as({ data: own, ...rest }, [own.buffer]);
}

/** Closes what was made for a journey that does not take place. */
export function discard(transfer: readonly Transferable[]): void {
  for (const each of transfer) if ('close' in each) each.close();
}

/**
 * An array with memory of its own. A `Buffer` has a `slice` that copies nothing, and its memory would go with
 * the message.
 */
export const copied = <Values extends { slice(): unknown }>(values: Values): ReturnType<Values['slice']> =>
  Reflect.apply(Uint8Array.prototype.slice as CallableFunction, values, []) as ReturnType<Values['slice']>;

/**
 * A message takes all of the memory that an array is a part of: a small part of a large one becomes an array
 * of its own.
 */
export function compact<
  Bytes extends { readonly buffer: ArrayBufferLike; readonly byteLength: number; slice(): Bytes },
>(values: Bytes): Bytes {
  return values.byteLength < values.buffer.byteLength ? (copied(values) as Bytes) : values;
}
