/**
 * Anything that can be drawn → a decoded picture of 8 bits a channel, as the file holds them: no colour
 * management, no premultiplied alpha, and alpha is dropped later, not blended (`Image.convert('RGB')` does the
 * same). The browser decodes, off the main thread; files that browsers decode otherwise than Python are decoded
 * by this library (decode.ts).
 */
import { ImageError, OptionError } from '../errors.js';
import { untilAborted } from '../platform/abort.js';
import type { Gpu } from '../gpu/device.js';
import { hasPaths, nodeModule } from '../platform/node.js';
import { kindOf } from '../optionObject.js';
import { bitmapsLoseColours } from './alpha.js';
import { decodeFile, type Canvas } from './decode.js';
import { decodeSlots } from './decodeSlots.js';

/** Pixels in memory: rows from the top, without gaps. For Node, tests, and whoever decodes on their own. */
export interface RawImage {
  readonly data: Uint8Array | Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
  /**
   * 4: red, green, blue and an alpha that is not looked at. 3: the same without alpha. Default: what the
   * length of `data` says.
   */
  readonly channels?: 3 | 4 | undefined;
}

/**
 * What an image can come from. Strings are URLs; those of other origins need CORS. In Node, strings that are no
 * URL of http, https, data or blob are paths, and URLs of `file:` work. Bytes (a `Buffer` too) are those of an
 * image file; pixels in memory are a `RawImage`.
 *
 * For Python's numbers hand in the file (Blob, URL) or the <img>: they are decoded without colour management.
 * A bitmap, canvas or frame holds what the browser has made of the file; of a photograph with a colour
 * profile that is another image (demo/photos/rocket.jpg: 130,792 of 150,528 values differ, by up to 29 of
 * 255), unless the bitmap was made with `colorSpaceConversion: 'none'`.
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
 * How a file is turned. `ignore`: as the pixels lie in the file, which is what an image processor makes of
 * `PIL.Image.open`. `respect`: upright, as the Exif data of the file say, which is what
 * `transformers.image_utils.load_image` gives; for photographs that people take and look at. Elements,
 * canvases and bitmaps are what they show, either way.
 */
export type Orientation = 'respect' | 'ignore';

export interface SourceOptions {
  /** Of files: Blob and URL. Default 'ignore', as `PIL.Image.open` has it. */
  readonly orientation?: Orientation | undefined;
  /** Stops the loading: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** What the page draws. */
export type Drawable = ImageBitmap | HTMLCanvasElement | OffscreenCanvas | HTMLVideoElement | VideoFrame;

/** Pixels in memory that have the size they say. */
export interface RawPixels {
  readonly data: Uint8Array<ArrayBuffer> | Uint8ClampedArray<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
  readonly channels: 3 | 4;
}

/** A picture in the memory of the browser or of JavaScript. Whoever holds it closes it. */
export interface DecodedImage {
  /** For messages. */
  readonly name: string;
  readonly picture: Drawable | RawPixels;
  /** Of the image as it is stored, ahead of `orientation`, in pixels. */
  readonly width: number;
  readonly height: number;
  /** 1 to 8: how it is to be turned, as Exif counts it; 1 with the option `orientation: 'ignore'`. */
  readonly orientation: number;
  /** 1 to 8: how its file wants it turned. */
  readonly fileOrientation: number;
  /** The picture is the library's own, of a file: with the file's values, not turned. */
  readonly isFile: boolean;
  /**
   * The picture is a bitmap of what an <img> shows of its file, but for the turn: there is no colour profile,
   * and nothing is transparent.
   */
  readonly isAsShown: boolean;
  /** Where the picture stands on a larger, black image. */
  readonly canvas?: Canvas | undefined;
  /** Frees the picture, if it is not the caller's, and its place among those that are decoded. */
  close(): void;
}

/**
 * Decodes an image, or takes the caller's picture as it is: at once, so that pixels are those of the moment of
 * the call.
 *
 * @throws ImageError IMAGE_TYPE (nothing that can be drawn), IMAGE_FETCH (no image from that URL, or pixels
 * of another origin), IMAGE_DECODE (no image that can be decoded here), IMAGE_SIZE (data of another size)
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
      `orientation: expected 'ignore' or 'respect', found ${JSON.stringify(orientation)}. Use one of these.`,
    );
  }
  const kind = kindOf(source);
  switch (kind) {
    case 'String':
    case 'URL':
      return ofUrl(gpu, source as string | URL, orientation, signal);
    case 'Blob':
    case 'File':
      return ofBlob(gpu, source as Blob, nameOf(source as Blob), orientation, signal);
    case 'Uint8Array':
    case 'ArrayBuffer': // Of a Buffer, a view: it may lie in shared memory, which a Blob does not take.
      return ofBlob(
        gpu,
        new Blob([new Uint8Array(source as Uint8Array | ArrayBuffer)]),
        'Image',
        orientation,
        signal,
      );
    case 'HTMLImageElement':
      return ofElement(source as HTMLImageElement, signal);
    case 'ImageBitmap':
    case 'HTMLCanvasElement':
    case 'OffscreenCanvas': {
      const { width, height } = source as HTMLCanvasElement;
      return taken(source as HTMLCanvasElement, kind, width, height);
    }
    case 'HTMLVideoElement': {
      const { videoWidth, videoHeight } = source as HTMLVideoElement;
      return taken(source as HTMLVideoElement, kind, videoWidth, videoHeight);
    }
    case 'VideoFrame': {
      const { displayWidth, displayHeight } = source as VideoFrame;
      return taken(source as VideoFrame, kind, displayWidth, displayHeight);
    }
    default:
      return ofBytes(source, kind);
  }
}

/** A picture that is the caller's, upright. */
const taken = (picture: Drawable | RawPixels, name: string, width: number, height: number): DecodedImage => ({
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

/** Whether its pixels are those of the call, however late they are decoded: a file, or bytes that are copied. */
export function keepsItsPixels(source: ImageSource): boolean {
  try {
    return /^(String|URL|Blob|File|Uint8Array|ArrayBuffer)$/.test(kindOf(source));
  } catch {
    return true; // an image that has failed in the page of this worker throws here, and again when it is decoded
  }
}

const nameOf = (blob: Blob): string =>
  'name' in blob && typeof blob.name === 'string' && blob.name !== '' ? blob.name : 'Blob';

/** For messages: without query and fragment, which may hold secrets, and not at any length. */
function nameOfUrl(url: string): string {
  const plain = url.startsWith('data:') ? url : url.replace(/[?#].*$/s, '');
  return plain.length > 120 ? `${plain.slice(0, 117)}…` : plain;
}

async function ofUrl(
  gpu: Gpu,
  source: string | URL,
  orientation: Orientation,
  signal: AbortSignal | undefined,
): Promise<DecodedImage> {
  const url = String(source);
  if (hasPaths() && !/^(https?|data|blob):/i.test(url))
    return ofBlob(gpu, await readPath(url, signal), url, orientation, signal);
  const name = nameOfUrl(url);
  let blob: Blob;
  try {
    const response = await fetch(url, { signal: signal ?? null });
    if (!response.ok) {
      await response.body?.cancel();
      throw new ImageError(
        'IMAGE_FETCH',
        `${name}: expected an image, found HTTP status ${response.status}. Check the URL.`,
      );
    }
    blob = await response.blob();
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof ImageError) throw cause;
    const what = hasPaths()
      ? 'Check the URL and the network'
      : 'Check the URL, the network, and that a server of another origin allows this page to read it (CORS)';
    throw new ImageError(
      'IMAGE_FETCH',
      `${name}: expected an image, found no answer that may be read (${String(cause)}). ${what}.`,
      { cause },
    );
  }
  return ofBlob(gpu, blob, name, orientation, signal);
}

/** A file of the machine, in Node: a path, or a URL of `file:`. @throws ImageError IMAGE_FETCH */
async function readPath(path: string, signal: AbortSignal | undefined): Promise<Blob> {
  const { readFile } = nodeModule('node:fs/promises') as {
    readFile(path: string | URL, options: { signal?: AbortSignal }): Promise<Uint8Array<ArrayBuffer>>;
  };
  try {
    return new Blob([
      await readFile(/^file:/i.test(path) ? new URL(path) : path, signal === undefined ? {} : { signal }),
    ]);
  } catch (cause) {
    signal?.throwIfAborted();
    const { code } = cause as { readonly code?: unknown };
    const found =
      code === 'ENOENT' ? 'no such file' : code === 'EISDIR' ? 'a folder' : `no access (${String(cause)})`;
    throw new ImageError(
      'IMAGE_FETCH',
      `${path}: expected an image file, found ${found}. Check the path; a relative one counts from the folder in which the program was started.`,
      { cause },
    );
  }
}

async function ofBlob(
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
          `${name}: expected a file that can be read, found one that cannot (${String(cause)}). Choose the file again.`,
          { cause },
        );
      }),
    );
    signal?.throwIfAborted();
    const { image, canvas, ...decoded } = await decodeFile(bytes, name, blob.type, {
      losesAlpha: () => bitmapsLoseColours(gpu),
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

async function ofElement(element: HTMLImageElement, signal: AbortSignal | undefined): Promise<DecodedImage> {
  const name = nameOfUrl(element.currentSrc || element.src) || '<img>';
  if (!element.complete || element.naturalWidth === 0) {
    await untilAborted(() => element.decode(), signal).catch((cause: unknown) => {
      signal?.throwIfAborted();
      throw new ImageError(
        'IMAGE_DECODE',
        `${name}: expected an <img> with an image, found one that did not load (${String(cause)}). Check its src.`,
        { cause },
      );
    });
    signal?.throwIfAborted();
  }
  const bytes = element.naturalWidth * element.naturalHeight * 4;
  // Where a slot is free the pixels are those of this moment: an element may show another image by then.
  let slot = decodeSlots().takeNow(bytes);
  if (!slot) {
    slot = await decodeSlots().take(signal);
    await slot.claim(bytes, signal);
  }
  const { release } = slot;
  // Decoded anew, so that neither the page's colour management nor premultiplied alpha has touched the pixels.
  const bitmap = await createImageBitmap(element, {
    imageOrientation: 'from-image',
    colorSpaceConversion: 'none',
    premultiplyAlpha: 'none',
  }).catch((cause: unknown) => {
    release();
    signal?.throwIfAborted();
    const formats = 'Use PNG, JPEG, WebP, or another format that this browser shows in an <img>';
    throw new ImageError(
      'IMAGE_DECODE',
      `${name}: expected an image, found <img> that cannot be decoded (${String(cause)}). ${formats}.`,
      { cause },
    );
  });
  const close = (): void => {
    bitmap.close();
    release();
  };
  if (signal?.aborted) close();
  signal?.throwIfAborted();
  return { ...taken(bitmap, name, bitmap.width, bitmap.height), close };
}

/** ImageData and RawImage. */
function ofBytes(source: unknown, kind: string): DecodedImage {
  const { data, width, height, channels } = (source ?? {}) as Partial<RawImage>;
  const dataKind = kindOf(data);
  if (dataKind !== 'Uint8Array' && dataKind !== 'Uint8ClampedArray') {
    const expected =
      'an image, canvas, video, frame, Blob, URL, the bytes of a file, ImageData, or { data, width, height } with 8 bits a channel';
    throw new ImageError(
      'IMAGE_TYPE',
      `Image: expected ${expected}, found ${data === undefined ? kind : `${kind} with data in ${dataKind}`}. Hand in one of these.`,
    );
  }
  const bytes = data as Uint8Array<ArrayBuffer>;
  const size = (width as number) * (height as number);
  if (!(Number.isInteger(width) && Number.isInteger(height) && size > 0)) {
    throw new ImageError(
      'IMAGE_SIZE',
      `data: expected an image of at least 1 × 1 pixels, found ${width} × ${height}. Wait until it is loaded, or use another one.`,
    );
  }
  const perPixel = channels ?? bytes.length / size;
  if ((perPixel !== 3 && perPixel !== 4) || bytes.length !== size * perPixel) {
    const expected =
      channels === undefined
        ? `${size * 3} or ${size * 4}`
        : `${size * channels} (${channels} channels; 3 or 4 will do)`;
    throw new ImageError(
      'IMAGE_SIZE',
      `Image data: expected ${expected} bytes for ${width} × ${height} pixels, found ${bytes.length}. Give rows without gaps.`,
    );
  }
  const picture: RawPixels = {
    data: bytes,
    width: width as number,
    height: height as number,
    channels: perPixel,
  };
  return taken(picture, 'data', picture.width, picture.height);
}
