/**
 * Anything that can be drawn → a texture of 8 bits a channel, as the file holds them: no colour management,
 * no premultiplied alpha, and alpha is dropped later, not blended (`Image.convert('RGB')` does the same). The
 * browser decodes, off the main thread; files that browsers decode otherwise than Python are decoded by this
 * library (decode.ts).
 */
import { ImageError, OptionError } from '../errors.js';
import { TextureUsage } from '../gpu/constants.js';
import type { Gpu } from '../gpu/device.js';
import { hasPaths, nodeModule } from '../gpu/node.js';
import { bitmapsLoseColours } from './alpha.js';
import { decodeFile, type Canvas } from './decode.js';
import { decodeSlots } from './decodeSlots.js';
import { liesOnItsSide } from './orientation.js';

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

/** An image on the GPU. Whoever holds it destroys the texture. */
export interface ImageTexture {
  readonly texture: GPUTexture;
  /** Of the image as it is turned. */
  readonly width: number;
  readonly height: number;
  /**
   * 1 to 8: how the image lies in the texture, as Exif counts it. From 5 on, the texture's sides have changed
   * places.
   */
  readonly orientation: number;
}

/**
 * A picture that is decoded, or at hand, and on no GPU yet. Whoever gets it calls `close`.
 */
export interface DecodedImage {
  /** A bitmap of a file; undefined for what is put on the GPU as it is. */
  readonly picture: ImageBitmap | undefined;
  /** Whether colour management would show other colours than the bitmap has. */
  readonly hasColorProfile: boolean;
  /** 1 to 8, as the file says, whatever the option `orientation` is. */
  readonly fileOrientation: number;
  /** Where the bitmap stands on a larger, black picture. */
  readonly canvas: Canvas | undefined;
  /** Puts it on the GPU. */
  upload(): Promise<ImageTexture>;
  /** Frees the picture and its place among those that are decoded. Further calls do nothing. */
  close(): void;
}

/**
 * Decodes a file, when its turn has come; other sources are left as they are.
 * @throws as toTexture
 */
export async function decodeSource(
  gpu: Gpu,
  source: ImageSource,
  options: SourceOptions = {},
): Promise<DecodedImage> {
  const { signal } = options;
  signal?.throwIfAborted();
  checkOrientation(options.orientation);
  const kind = kindOf(source);
  if (kind === 'String' || kind === 'URL') {
    const { blob, name } = await blobOfUrl(source as string | URL, signal);
    return decodeBlob(gpu, blob, name, options);
  }
  if (kind === 'Blob' || kind === 'File')
    return decodeBlob(gpu, source as Blob, nameOf(source as Blob), options);
  if (kind === 'Uint8Array' || kind === 'ArrayBuffer') {
    // Of a Buffer, a view: it may lie in shared memory, which a Blob does not take.
    const blob = new Blob([new Uint8Array(source as Uint8Array | ArrayBuffer)]);
    return decodeBlob(gpu, blob, 'Image', options);
  }
  return {
    picture: undefined,
    hasColorProfile: true,
    fileOrientation: 1,
    canvas: undefined,
    upload: () => toTexture(gpu, source, options),
    close: () => undefined,
  };
}

async function decodeBlob(
  gpu: Gpu,
  blob: Blob,
  name: string,
  { orientation = 'ignore', signal }: SourceOptions,
): Promise<DecodedImage> {
  const slot = await decodeSlots().take(signal);
  try {
    const bytes = await bytesOf(blob, name);
    signal?.throwIfAborted();
    const { readImageHeader } = await import('./imageHeader.js');
    const { width = 0, height = 0 } = readImageHeader(bytes) ?? {};
    await slot.claim(width, height, signal);
    const {
      image,
      orientation: lies,
      canvas,
      hasColorProfile,
    } = await decodeFile(bytes, name, blob.type, {
      mostSide: gpu.device.limits.maxTextureDimension2D,
      losesAlpha: () => bitmapsLoseColours(gpu),
      signal,
    });
    const picture = 'data' in image ? undefined : image;
    const upload = async (): Promise<ImageTexture> => {
      const made =
        'data' in image
          ? await ofRgba(gpu, image.data, name, image.width, image.height)
          : await ofDrawable(gpu, image, name, image.width, image.height, canvas);
      if (orientation === 'ignore' || lies === 1) return made;
      const [upright, across] = liesOnItsSide(lies) ? [made.height, made.width] : [made.width, made.height];
      return { texture: made.texture, width: upright, height: across, orientation: lies };
    };
    const close = (): void => {
      picture?.close();
      slot.release();
    };
    return { picture, hasColorProfile, fileOrientation: lies, canvas, upload, close };
  } catch (error) {
    slot.release();
    throw error;
  }
}

async function bytesOf(blob: Blob, name: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(
    await blob.arrayBuffer().catch((cause: unknown) => {
      throw new ImageError(
        'IMAGE_FETCH',
        `${name}: expected a file that can be read, found one that cannot (${String(cause)}). Choose the file again.`,
        { cause },
      );
    }),
  );
}

function checkOrientation(orientation: Orientation | undefined): void {
  if (orientation === undefined || orientation === 'respect' || orientation === 'ignore') return;
  throw new OptionError(
    'OPTION_VALUE',
    `orientation: expected 'ignore' or 'respect', found ${JSON.stringify(orientation)}. Use one of these.`,
  );
}

/**
 * Puts an image on the GPU.
 *
 * @throws ImageError IMAGE_TYPE (nothing that can be drawn), IMAGE_FETCH (no image from that URL, or pixels
 * of another origin), IMAGE_DECODE (no image that can be decoded here), IMAGE_SIZE (empty, or larger than a
 * texture of this device)
 * @throws DeviceError DEVICE_MEMORY, DEVICE_LOST
 * @throws `signal.reason` after an abort
 */
export async function toTexture(
  gpu: Gpu,
  source: ImageSource,
  options: SourceOptions = {},
): Promise<ImageTexture> {
  const { signal } = options;
  signal?.throwIfAborted();
  checkOrientation(options.orientation);
  const kind = kindOf(source);
  switch (kind) {
    case 'String':
    case 'URL':
    case 'Blob':
    case 'File':
    case 'Uint8Array':
    case 'ArrayBuffer': {
      const decoded = await decodeSource(gpu, source, options);
      try {
        return await decoded.upload();
      } finally {
        decoded.close();
      }
    }
    case 'HTMLImageElement':
      return ofElement(gpu, source as HTMLImageElement, signal);
    case 'ImageBitmap':
      return ofBitmap(gpu, source as ImageBitmap, kind);
    case 'HTMLCanvasElement':
    case 'OffscreenCanvas': {
      const { width, height } = source as HTMLCanvasElement;
      return ofDrawable(gpu, source as HTMLCanvasElement, kind, width, height);
    }
    case 'HTMLVideoElement': {
      const { videoWidth, videoHeight } = source as HTMLVideoElement;
      return ofDrawable(gpu, source as HTMLVideoElement, kind, videoWidth, videoHeight);
    }
    case 'VideoFrame': {
      const { displayWidth, displayHeight } = source as VideoFrame;
      return ofDrawable(gpu, source as VideoFrame, kind, displayWidth, displayHeight);
    }
    default:
      return ofBytes(gpu, source, kind);
  }
}

/**
 * The name of a thing's class. Unlike instanceof it needs no global and knows the things of other windows.
 */
const kindOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

const nameOf = (blob: Blob): string =>
  'name' in blob && typeof blob.name === 'string' && blob.name !== '' ? blob.name : 'Blob';

/** For messages: without query and fragment, which may hold secrets, and not at any length. */
function nameOfUrl(url: string): string {
  const plain = url.startsWith('data:') ? url : url.replace(/[?#].*$/s, '');
  return plain.length > 120 ? `${plain.slice(0, 117)}…` : plain;
}

async function blobOfUrl(
  source: string | URL,
  signal: AbortSignal | undefined,
): Promise<{ blob: Blob; name: string }> {
  const url = String(source);
  if (hasPaths() && !/^(https?|data|blob):/i.test(url))
    return { blob: await readPath(url, signal), name: url };
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
  return { blob, name };
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

async function ofElement(
  gpu: Gpu,
  element: HTMLImageElement,
  signal: AbortSignal | undefined,
): Promise<ImageTexture> {
  const name = nameOfUrl(element.currentSrc || element.src) || '<img>';
  if (!element.complete || element.naturalWidth === 0) {
    await element.decode().catch((cause: unknown) => {
      throw new ImageError(
        'IMAGE_DECODE',
        `${name}: expected an <img> with an image, found one that did not load (${String(cause)}). Check its src.`,
        { cause },
      );
    });
    signal?.throwIfAborted();
  }
  // Decoded anew, so that neither the page's colour management nor premultiplied alpha has touched the pixels.
  const bitmap = await createImageBitmap(element, {
    imageOrientation: 'from-image',
    colorSpaceConversion: 'none',
    premultiplyAlpha: 'none',
  }).catch((cause: unknown) => {
    signal?.throwIfAborted();
    const formats = 'Use PNG, JPEG, WebP, or another format that this browser shows in an <img>';
    throw new ImageError(
      'IMAGE_DECODE',
      `${name}: expected an image, found <img> that cannot be decoded (${String(cause)}). ${formats}.`,
      { cause },
    );
  });
  try {
    signal?.throwIfAborted();
    return await ofBitmap(gpu, bitmap, name);
  } finally {
    bitmap.close();
  }
}

function ofBitmap(gpu: Gpu, bitmap: ImageBitmap, name: string): Promise<ImageTexture> {
  return ofDrawable(gpu, bitmap, name, bitmap.width, bitmap.height).catch((error: unknown) => {
    if (!(error instanceof ImageError && error.code === 'IMAGE_DECODE')) throw error;
    // Chromium 147 copies no bitmap with over 8 bits a channel that an <img> gave ("Failed to copy content
    // from external image"); the same file as a Blob is fine. By way of a canvas its values come out rounded
    // to 8 bits instead of cut: at most 1 of 255 away.
    return ofDrawable(gpu, onCanvas(bitmap), name, bitmap.width, bitmap.height);
  });
}

function onCanvas(bitmap: ImageBitmap): OffscreenCanvas {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext('2d')?.drawImage(bitmap, 0, 0);
  return canvas;
}

async function ofDrawable(
  gpu: Gpu,
  source:
    ImageBitmap | HTMLImageElement | HTMLCanvasElement | OffscreenCanvas | HTMLVideoElement | VideoFrame,
  name: string,
  width: number,
  height: number,
  canvas: Canvas = { left: 0, top: 0, width, height },
): Promise<ImageTexture> {
  return upload(gpu, name, canvas.width, canvas.height, (texture) => {
    try {
      gpu.device.queue.copyExternalImageToTexture(
        { source },
        { texture, premultipliedAlpha: false, origin: [canvas.left, canvas.top] },
        [Math.min(width, canvas.width - canvas.left), Math.min(height, canvas.height - canvas.top)],
      );
    } catch (cause) {
      if (cause instanceof Error && cause.name === 'SecurityError') {
        const what = "Serve it with CORS headers and load it with crossorigin='anonymous'";
        throw new ImageError(
          'IMAGE_FETCH',
          `${name}: expected pixels that this page may read, found some of another origin. ${what}.`,
          { cause },
        );
      }
      const what =
        'A video needs its first frame (wait for loadeddata); a bitmap or frame that was closed is gone';
      throw new ImageError(
        'IMAGE_DECODE',
        `${name}: expected something that can be drawn, found nothing to draw (${String(cause)}). ${what}.`,
        { cause },
      );
    }
  });
}

/** ImageData and RawImage. */
async function ofBytes(gpu: Gpu, source: unknown, kind: string): Promise<ImageTexture> {
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
  const size = sizeOf('data', width as number, height as number);
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
  return ofRgba(gpu, perPixel === 4 ? bytes : withAlpha(bytes), 'data', width as number, height as number);
}

const ofRgba = (
  gpu: Gpu,
  data: Uint8Array<ArrayBuffer>,
  name: string,
  width: number,
  height: number,
): Promise<ImageTexture> =>
  upload(gpu, name, width, height, (texture) =>
    gpu.device.queue.writeTexture({ texture }, data, { bytesPerRow: width * 4 }, [width, height]),
  );

function withAlpha(rgb: Uint8Array): Uint8Array<ArrayBuffer> {
  const rgba = new Uint8Array((rgb.length / 3) * 4);
  for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
    rgba[to] = rgb[from]!;
    rgba[to + 1] = rgb[from + 1]!;
    rgba[to + 2] = rgb[from + 2]!;
    rgba[to + 3] = 255;
  }
  return rgba;
}

/** The number of pixels, which is at least 1. */
function sizeOf(name: string, width: number, height: number): number {
  if (Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0) return width * height;
  throw new ImageError(
    'IMAGE_SIZE',
    `${name}: expected an image of at least 1 × 1 pixels, found ${width} × ${height}. Wait until it is loaded, or use another one.`,
  );
}

async function upload(
  gpu: Gpu,
  name: string,
  width: number,
  height: number,
  fill: (texture: GPUTexture) => void,
): Promise<ImageTexture> {
  sizeOf(name, width, height);
  const most = gpu.device.limits.maxTextureDimension2D;
  if (width > most || height > most) {
    throw new ImageError(
      'IMAGE_SIZE',
      `${name}: expected at most ${most} × ${most} pixels on this device, found ${width} × ${height}. Make the image smaller first.`,
    );
  }
  let made: GPUTexture | undefined;
  try {
    const texture = await gpu.allocating(() => {
      made = gpu.device.createTexture({
        label: `image ${width} × ${height}`,
        size: [width, height],
        format: 'rgba8unorm',
        usage: TextureUsage.TEXTURE_BINDING | TextureUsage.COPY_DST | TextureUsage.RENDER_ATTACHMENT,
      });
      fill(made);
      return made;
    });
    return { texture, width, height, orientation: 1 };
  } catch (error) {
    made?.destroy();
    throw error;
  }
}
