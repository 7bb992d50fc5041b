/**
 * Decodes any image source to 8 bits per channel. Colours are those stored in the file, without colour
 * management and without premultiplied alpha. Alpha is dropped later, not blended, as by
 * `Image.convert('RGB')` in Python. The browser decodes off the main thread. This library decodes the files
 * that browsers decode differently from Python (decode.ts).
 */
import { ImageError, OptionError } from '../errors.js';
import { shortName } from '../io/url.js';
import { untilAborted } from '../platform/abort.js';
import { loadPart } from '../platform/part.js';
import type { Gpu } from '../gpu/device.js';
import { kindOf } from '../optionObject.js';
import { decodeFile } from './decode.js';
import { decodeSlots } from './decodeSlots.js';
import type { Canvas } from './pixels.js';

/** Decoded pixels in memory, for example from a decoder in Node. */
export interface RawImage {
  /** Pixels in rows from the top, without gaps between rows. */
  readonly data: Uint8Array | Uint8ClampedArray;
  /** Width in pixels. */
  readonly width: number;
  /** Height in pixels. */
  readonly height: number;
  /**
   * 3: red, green, blue. 4: red, green, blue and an alpha, which is ignored. Default: derived from the length
   * of `data`.
   */
  readonly channels?: 3 | 4 | undefined;
}

/**
 * Sources of an image. A string is a URL; URLs of other origins need CORS. In Node, a string that is not an
 * http, https, data, blob or file URL is a path. Bytes (also a `Buffer`) are the content of an image file.
 * Pixels in memory are a `RawImage`.
 *
 * To get Python's numbers, pass the file (Blob, URL) or the <img>: both are decoded without colour
 * management. A bitmap, canvas or frame holds the browser's colours. For a photograph with a colour profile,
 * the browser's colours differ from Python's (demo/photos/rocket.jpg: 130,792 of 150,528 values, by up to 29
 * of 255), unless the bitmap was created with `colorSpaceConversion: 'none'`.
 */
export type ImageSource =
  | ImageBitmap
  | HTMLImageElement
  | HTMLCanvasElement
  | OffscreenCanvas
  | HTMLVideoElement
  | VideoFrame
  | ImageData
  | Blob
  | URL
  | string
  | Uint8Array
  | ArrayBuffer
  | RawImage;

/**
 * How the Exif orientation of a file is treated. `ignore`: the pixels are used as stored, like
 * `PIL.Image.open` in Python. `respect`: the image is rotated upright, like
 * `transformers.image_utils.load_image`; this is the right choice for photographs that people look at. With
 * either value, elements, canvases and bitmaps are used as shown.
 */
export type Orientation = 'respect' | 'ignore';

/** Options for decoding an image source. */
export interface SourceOptions {
  /** Treatment of a file's Exif orientation. Default 'ignore', like `PIL.Image.open`. */
  readonly orientation?: Orientation | undefined;
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** Sources that the GPU copies through a texture. */
export type Drawable = ImageBitmap | HTMLCanvasElement | OffscreenCanvas | HTMLVideoElement | VideoFrame;

/** Pixels in memory whose `data` have been checked against `width`, `height` and `channels`. */
export interface RawPixels {
  readonly data: Uint8Array<ArrayBuffer> | Uint8ClampedArray<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
  readonly channels: 3 | 4;
}

/** A decoded image in memory. The owner must call `close`. */
export interface DecodedImage {
  /** Name of the image for error messages. */
  readonly name: string;
  readonly picture: Drawable | RawPixels;
  /** Stored size in pixels, before `orientation` is applied. */
  readonly width: number;
  readonly height: number;
  /** Exif orientation to apply, 1 to 8. It is 1 with the option `orientation: 'ignore'`. */
  readonly orientation: number;
  /** Exif orientation in the file, 1 to 8, even if the option `orientation` ignores it. */
  readonly fileOrientation: number;
  /** True for a picture decoded from a file: it has the stored values and is not rotated. */
  readonly isFile: boolean;
  /**
   * True if the picture is a bitmap with the colours that an <img> of the file shows: the file has no colour
   * profile and no alpha. Only the rotation may differ.
   */
  readonly isAsShown: boolean;
  /** Set if the picture is part of a larger black image. */
  readonly canvas?: Canvas | undefined;
  /** Frees the picture, unless it belongs to the caller, and releases its decode slot. */
  close(): void;
}

/**
 * Decodes an image source. A picture that belongs to the caller (canvas, video, bitmap, pixels) is returned
 * synchronously, so that its pixels are those at the time of the call.
 *
 * @throws ImageError IMAGE_TYPE, if `source` is not an image source; IMAGE_FETCH, if the file cannot be read;
 *   IMAGE_DECODE, if the file cannot be decoded; IMAGE_SIZE, if the length of pixel data does not match the
 *   size
 * @throws `signal.reason` after an abort
 */
export function decodeSource(
  gpu: Gpu,
  source: ImageSource,
  { orientation = 'ignore', signal }: SourceOptions = {},
): DecodedImage | Promise<DecodedImage> {
  signal?.throwIfAborted();
  if (orientation !== 'respect' && orientation !== 'ignore') {
    throw new OptionError(
      'OPTION_VALUE',
      `orientation: expected 'ignore' or 'respect', found ${JSON.stringify(orientation)}.`,
    );
  }
  const own = withOwnBytes(source);
  const kind = kindOf(own);
  switch (kind) {
    case 'String':
    case 'URL':
      return decodeUrl(gpu, source as string | URL, orientation, signal);
    case 'Blob':
    case 'File':
      return decodeBlob(gpu, own as Blob, nameOf(own as Blob), orientation, signal);
    case 'HTMLImageElement':
      return decodeElement(source as HTMLImageElement, signal);
    case 'ImageBitmap':
    case 'HTMLCanvasElement':
    case 'OffscreenCanvas': {
      const { width, height } = source as HTMLCanvasElement;
      return callersPicture(source as HTMLCanvasElement, kind, width, height);
    }
    case 'HTMLVideoElement': {
      const { videoWidth, videoHeight } = source as HTMLVideoElement;
      return callersPicture(source as HTMLVideoElement, kind, videoWidth, videoHeight);
    }
    case 'VideoFrame': {
      const { displayWidth, displayHeight } = source as VideoFrame;
      return callersPicture(source as VideoFrame, kind, displayWidth, displayHeight);
    }
    default:
      return wrapPixels(source, kind);
  }
}

/** Wraps a picture that belongs to the caller in a `DecodedImage`. */
const callersPicture = (
  picture: Drawable | RawPixels,
  name: string,
  width: number,
  height: number,
): DecodedImage => ({
  name,
  picture,
  width,
  height,
  orientation: 1,
  fileOrientation: 1,
  isFile: false,
  isAsShown: false,
  close: () => undefined,
});

/** Returns true if the source cannot change after the call: a file, or bytes, which are copied. */
export function keepsItsPixels(source: ImageSource): boolean {
  try {
    return /^(String|URL|Blob|File|Uint8Array|ArrayBuffer)$/.test(kindOf(source));
  } catch {
    return true; // an <img> that failed to load throws here; decoding throws the same error again
  }
}

/** Copies the bytes of a file, which the caller may change, into a file. Returns any other source as it is. */
export const withOwnBytes = (source: ImageSource): ImageSource =>
  /^(Uint8Array|ArrayBuffer)$/.test(kindOf(source))
    ? // Bytes in shared memory have to be copied first, because Blob does not accept them.
      new File([new Uint8Array(source as ArrayBuffer)], 'Image')
    : source;

/**
 * Returns true if a second read of the source gives the same pixels: a file, or a bitmap or frame that is not
 * closed. The pixels of other sources may have changed.
 */
export function canBeReadAgain(source: ImageSource): boolean {
  const { close, codedWidth, width } = source as Partial<ImageBitmap & VideoFrame>;
  return keepsItsPixels(source) || (close !== undefined && (codedWidth ?? width)! > 0);
}

const nameOf = (blob: Blob): string =>
  'name' in blob && typeof blob.name === 'string' && blob.name !== '' ? blob.name : 'Blob';

async function decodeUrl(
  gpu: Gpu,
  source: string | URL,
  orientation: Orientation,
  signal: AbortSignal | undefined,
): Promise<DecodedImage> {
  const { fetchImage } = await loadPart(import('./fetchImage.js'));
  const { blob, name } = await fetchImage(String(source), signal);
  return decodeBlob(gpu, blob, name, orientation, signal);
}

async function decodeBlob(
  gpu: Gpu,
  blob: Blob,
  name: string,
  orientation: Orientation,
  signal: AbortSignal | undefined,
): Promise<DecodedImage> {
  const slot = await decodeSlots().take(signal);
  try {
    const bytes = new Uint8Array(
      await untilAborted(() => blob.arrayBuffer(), signal).catch((cause: unknown) => {
        signal?.throwIfAborted();
        throw new ImageError(
          'IMAGE_FETCH',
          `${name}: the file cannot be read (${String(cause)}). Choose the file again.`,
          { cause },
        );
      }),
    );
    signal?.throwIfAborted();
    const { image, canvas, ...decoded } = await decodeFile(bytes, name, blob.type, {
      losesAlpha: async () => (await loadPart(import('./alpha.js'))).bitmapsLoseColours(gpu),
      claim: (size) => slot.claim(size, signal),
      signal,
    });
    const isBitmap = !('data' in image);
    return {
      name,
      picture: 'data' in image ? { ...image, channels: 4 } : image,
      width: canvas?.width ?? image.width,
      height: canvas?.height ?? image.height,
      orientation: orientation === 'respect' ? decoded.orientation : 1,
      fileOrientation: decoded.orientation,
      isFile: true,
      isAsShown: isBitmap && !canvas && decoded.showsStoredColors,
      canvas,
      close: () => {
        if (!('data' in image)) image.close();
        slot.release();
      },
    };
  } catch (error) {
    slot.release();
    throw error;
  }
}

async function decodeElement(
  element: HTMLImageElement,
  signal: AbortSignal | undefined,
): Promise<DecodedImage> {
  const name = shortName(element.currentSrc || element.src) || '<img>';
  if (!element.complete || element.naturalWidth === 0) {
    await untilAborted(() => element.decode(), signal).catch((cause: unknown) => {
      signal?.throwIfAborted();
      throw new ImageError(
        'IMAGE_DECODE',
        `${name}: the image of this <img> did not load (${String(cause)}). Check its src.`,
        { cause },
      );
    });
    signal?.throwIfAborted();
  }
  const bytes = element.naturalWidth * element.naturalHeight * 4;
  // Takes a decode slot without waiting if a slot is free: during a wait, the page could put a different
  // image into the element.
  let slot = decodeSlots().takeNow(bytes);
  if (!slot) {
    slot = await decodeSlots().take(signal);
    await slot.claim(bytes, signal);
  }
  const { release } = slot;
  // Decodes the image of the element again, without colour management and without premultiplied alpha.
  const bitmap = await createImageBitmap(element, {
    imageOrientation: 'from-image',
    colorSpaceConversion: 'none',
    premultiplyAlpha: 'none',
  }).catch((cause: unknown) => {
    release();
    signal?.throwIfAborted();
    throw new ImageError(
      'IMAGE_DECODE',
      `${name}: the image of this <img> cannot be decoded (${String(cause)}). Use PNG, JPEG or WebP.`,
      { cause },
    );
  });
  const close = (): void => {
    bitmap.close();
    release();
  };
  if (signal?.aborted) close();
  signal?.throwIfAborted();
  return { ...callersPicture(bitmap, name, bitmap.width, bitmap.height), close };
}

/** Checks and wraps an ImageData or RawImage. */
function wrapPixels(source: unknown, kind: string): DecodedImage {
  const { data, width, height, channels } = (source ?? {}) as Partial<RawImage>;
  const dataKind = kindOf(data);
  if (dataKind !== 'Uint8Array' && dataKind !== 'Uint8ClampedArray') {
    const expected =
      'an image, canvas, video, frame, Blob, URL, the bytes of a file, ImageData, or { data, width, height } with 8 bits a channel';
    throw new ImageError(
      'IMAGE_TYPE',
      `Image: expected ${expected}, found ${data === undefined ? kind : `${kind} with data of type ${dataKind}`}.`,
    );
  }
  const bytes = data as Uint8Array<ArrayBuffer>;
  const size = (width as number) * (height as number);
  if (!(Number.isInteger(width) && Number.isInteger(height) && size > 0)) {
    throw new ImageError(
      'IMAGE_SIZE',
      `Image data: expected at least 1 × 1 pixels, found ${width} × ${height}. Pass its width and height in pixels.`,
    );
  }
  const perPixel = channels ?? bytes.length / size;
  if ((perPixel !== 3 && perPixel !== 4) || bytes.length !== size * perPixel) {
    const expected =
      channels === undefined
        ? `${size * 3} or ${size * 4} bytes for ${width} × ${height} pixels`
        : `${size * channels} bytes for ${width} × ${height} pixels of ${channels} channels (3 or 4)`;
    throw new ImageError(
      'IMAGE_SIZE',
      `Image data: expected ${expected}, found ${bytes.length}. Pass rows without gaps.`,
    );
  }
  const picture: RawPixels = {
    data: bytes,
    width: width as number,
    height: height as number,
    channels: perPixel,
  };
  return callersPicture(picture, 'data', picture.width, picture.height);
}
