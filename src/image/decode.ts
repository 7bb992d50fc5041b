/**
 * The bytes of an image file → pixels as they lie in the file, with Pillow's colours, or an error. The browser
 * decodes what it decodes as Pillow does; what it would turn, blend or animate is taken out first, and files
 * that are cut off or broken are found here, because Firefox shows what there is of them. PNG that browsers
 * decode otherwise, and all GIF and BMP, are decoded by this library, in Node too.
 */
import { ImageError } from '../errors.js';
import { checkPixels } from './decodeErrors.js';

/** Red, green, blue, and an alpha at which nobody looks. */
export interface Pixels {
  readonly data: Uint8Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

/** Where a picture stands on a larger, black one. */
export interface Canvas {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

export interface DecodedFile {
  /** Whoever gets a bitmap closes it. */
  readonly image: ImageBitmap | Pixels;
  /** 1 to 8: how the image lies, as Exif counts it. */
  readonly orientation: number;
  /** Of an animation's frame that is smaller than its screen. */
  readonly canvas?: Canvas | undefined;
  /**
   * Whether an <img> of the file shows the stored colours: there is no colour profile but sRGB's, and nothing
   * is transparent. False for a file of an unknown format.
   */
  readonly showsStoredColors: boolean;
}

export interface DecodeOptions {
  /** Resolves to whether bitmaps lose the colours under their alpha. */
  readonly losesAlpha: () => Promise<boolean>;
  /** Called ahead of decoding, with the bytes of memory that it will take, and waited for. */
  readonly claim?: ((bytes: number) => Promise<void>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A file for the browser's decoder. */
interface PlainFile {
  readonly pieces: Uint8Array<ArrayBuffer>[];
  readonly orientation: number;
  readonly canvas?: Canvas | undefined;
}

/**
 * Decodes a file. `bytes` are the caller's no more: names of metadata in them are overwritten.
 *
 * @param name of the file, for messages
 * @param type as the server or the system calls it, for messages
 * @throws ImageError IMAGE_DECODE, IMAGE_SIZE
 * @throws `signal.reason` after an abort
 */
export async function decodeFile(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  type: string,
  options: DecodeOptions,
): Promise<DecodedFile> {
  const { decodedBytes, readImageHeader } = await import('./imageHeader.js');
  const header = readImageHeader(bytes);
  if (header) checkPixels(name, header.width, header.height);
  await options.claim?.(decodedBytes(header));
  const showsStoredColors = header !== undefined && !header.hasColorProfile && !header.hasAlpha;
  return { ...(await decodePixels(bytes, name, type, options)), showsStoredColors };
}

type DecodedPixels = Omit<DecodedFile, 'showsStoredColors'>;

async function decodePixels(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  type: string,
  options: DecodeOptions,
): Promise<DecodedPixels> {
  const found = `${bytes.length} bytes${type && ` of type ${type}`}`;
  const byBrowser = async ({ pieces, orientation, canvas }: PlainFile): Promise<DecodedPixels> => {
    if (typeof createImageBitmap !== 'function') throw await noDecoder(bytes, name, found);
    const image = await bitmapOf(new Blob(pieces, { type }), options.signal).catch(async (cause: unknown) => {
      options.signal?.throwIfAborted();
      throw await notDecoded(bytes, name, found, cause);
    });
    return { image, orientation, canvas };
  };
  switch (formatOf(bytes)) {
    case 'JPEG':
      return ofJpeg(bytes, name, byBrowser, options.signal);
    case 'PNG':
      return ofPng(bytes, name, byBrowser, options);
    case 'GIF': {
      const { decodeGif } = await import('./gif.js');
      return { image: await decodeGif(bytes, name, options.signal), orientation: 1 };
    }
    case 'WebP': {
      const { plainWebp } = await import('./webp.js');
      return byBrowser(plainWebp(bytes, name));
    }
    case 'BMP': {
      const { decodeBmp } = await import('./bmp.js');
      return { image: await decodeBmp(bytes, name, options.signal), orientation: 1 };
    }
    case 'AVIF': {
      const { plainAvif } = await import('./avif.js');
      return byBrowser(plainAvif(bytes));
    }
    default: {
      const { refuseOther } = await import('./otherFiles.js');
      refuseOther(bytes, name);
      return byBrowser({ pieces: [bytes], orientation: 1 });
    }
  }
}

type Format = 'JPEG' | 'PNG' | 'GIF' | 'WebP' | 'BMP' | 'AVIF';

function formatOf(bytes: Uint8Array): Format | undefined {
  const text = String.fromCharCode(...bytes.subarray(0, 12));
  if (text.startsWith('\xff\xd8\xff')) return 'JPEG';
  if (text.startsWith('\x89PNG\r\n\x1a\n')) return 'PNG';
  if (/^GIF8[79]a/.test(text)) return 'GIF';
  if (/^RIFF[^]{4}WEBP/.test(text)) return 'WebP';
  if (text.startsWith('BM')) return 'BMP';
  if (/^[^]{4}ftypavi[fs]/.test(text)) return 'AVIF';
  return undefined;
}

/** Decodes as the page's colour management and premultiplied alpha have not touched the pixels. */
async function bitmapOf(source: Blob, signal: AbortSignal | undefined): Promise<ImageBitmap> {
  const bitmap = await createImageBitmap(source, {
    imageOrientation: 'from-image',
    colorSpaceConversion: 'none',
    premultiplyAlpha: 'none',
  });
  if (signal?.aborted) bitmap.close();
  signal?.throwIfAborted();
  return bitmap;
}

async function ofJpeg(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  byBrowser: (file: PlainFile) => Promise<DecodedPixels>,
  signal: AbortSignal | undefined,
): Promise<DecodedPixels> {
  const { EOI, prepareJpeg } = await import('./jpeg.js');
  const { orientation, channels, checkScans } = await prepareJpeg(bytes, name, signal);
  const decoding = byBrowser({ pieces: [bytes], orientation });
  decoding.catch(() => undefined); // it may fail while the scans are checked, and is awaited below
  const discard = (): Promise<void> => decoding.then(close, () => undefined);
  let cut: ImageError | undefined;
  try {
    cut = await checkScans();
  } catch (error) {
    await discard(); // the check tells more
    throw error;
  }
  let [decoded, whole] = [decoding, bytes];
  if (cut) {
    await discard();
    const { endOfBlocks } = await import('./jpegScan.js');
    const end = await endOfBlocks(bytes, signal);
    if (end === undefined) throw cut;
    whole = new Uint8Array(end + 2);
    whole.set(bytes.subarray(0, end));
    whole.set([0xff, EOI], end);
    decoded = byBrowser({ pieces: [whole], orientation });
  }
  const byTheBrowser = await decoded;
  if (channels !== 4) return byTheBrowser;
  try {
    const { decodeCmyk } = await import('./jpegCmyk.js');
    const image = await decodeCmyk(whole, name, signal);
    if (!image) return byTheBrowser;
    close(byTheBrowser);
    return { image, orientation };
  } catch (error) {
    close(byTheBrowser);
    throw error;
  }
}

async function ofPng(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  byBrowser: (file: PlainFile) => Promise<DecodedPixels>,
  { losesAlpha, signal }: DecodeOptions,
): Promise<DecodedPixels> {
  const { decodePng, plainPng } = await import('./png.js');
  const { pieces, orientation, bitDepth, alpha, isWhole } = await plainPng(bytes, name, signal);
  const here = typeof createImageBitmap !== 'function' || bitDepth === 16 || (alpha && (await losesAlpha()));
  if (!here) {
    const [decoded, whole] = await Promise.allSettled([byBrowser({ pieces, orientation }), isWhole()]);
    const fulfilled = decoded.status === 'fulfilled';
    if (fulfilled && whole.status === 'fulfilled' && whole.value) return decoded.value;
    if (fulfilled) close(decoded.value);
    signal?.throwIfAborted();
  }
  return { image: await decodePng(bytes, name, signal), orientation };
}

function close({ image }: DecodedPixels): void {
  if ('close' in image) image.close();
}

/** Where there is no browser. */
async function noDecoder(bytes: Uint8Array, name: string, found: string): Promise<ImageError> {
  const { whatItIs } = await import('./otherFiles.js');
  const other = whatItIs(bytes);
  const what = other?.what ?? found;
  const advice =
    other?.advice ??
    'Hand in a PNG, a GIF or a BMP, or decode the image first, for example with the package sharp, and hand in { data, width, height, channels }';
  return new ImageError(
    'IMAGE_DECODE',
    `${name}: expected a PNG, a GIF, a BMP or a browser's image decoder (createImageBitmap), found ${what} and no decoder here. ${advice}.`,
  );
}

async function notDecoded(
  bytes: Uint8Array,
  name: string,
  found: string,
  cause: unknown,
): Promise<ImageError> {
  const { whatItIs } = await import('./otherFiles.js');
  const { what, advice } = whatItIs(bytes) ?? {};
  return new ImageError(
    'IMAGE_DECODE',
    `${name}: expected an image, found ${what ?? found} that cannot be decoded here (${String(cause)}). ${advice ?? 'Use PNG, JPEG, WebP, or another format that this browser shows in an <img>'}.`,
    { cause },
  );
}
