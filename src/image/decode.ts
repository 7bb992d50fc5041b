/**
 * Decodes an image file to the pixels that Pillow gives, without applying the Exif orientation. Uses the
 * browser's decoder for files from which it gives the same pixels as Pillow. Metadata that make the browser
 * rotate, blend or animate the image are removed from the file first. Detects truncated and broken files,
 * because Firefox shows their readable part. All GIF and BMP files, the PNG files that browsers decode
 * differently, and in Node every PNG are decoded by this library itself.
 */
import { ImageError } from '../errors.js';
import { checkPixels } from './decodeErrors.js';
import type { Canvas, Pixels } from './pixels.js';

/** A decoded image file. */
export interface DecodedFile {
  /** The pixels. If they are an ImageBitmap, the caller must close it. */
  readonly image: ImageBitmap | Pixels;
  /** Exif orientation of the image, 1 to 8. */
  readonly orientation: number;
  /**
   * The canvas of an animation, with the position of the first frame on it. Set only if `image` is a frame
   * that is smaller than the canvas.
   */
  readonly canvas?: Canvas | undefined;
  /**
   * True if an <img> of the file shows the stored colours: the file has no colour profile except sRGB, and no
   * alpha. False for a file of an unknown format.
   */
  readonly showsStoredColors: boolean;
}

export interface DecodeOptions {
  /** Resolves to true if a bitmap with alpha loses its stored colours on the way to the GPU. */
  readonly losesAlpha: () => Promise<boolean>;
  /** Called and awaited before decoding, with the number of bytes of memory that decoding takes. */
  readonly claim?: ((bytes: number) => Promise<void>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A file prepared for the browser's decoder. */
interface PlainFile {
  readonly pieces: Uint8Array<ArrayBuffer>[];
  readonly orientation: number;
  readonly canvas?: Canvas | undefined;
}

/**
 * Decodes an image file. Takes ownership of `bytes`, and overwrites the names of some metadata in `bytes`, so
 * that the browser ignores these metadata.
 *
 * @param name the file's name, for error messages
 * @param type MIME type reported by the server or the system, for error messages
 * @throws ImageError IMAGE_DECODE, if the file cannot be decoded; IMAGE_SIZE, if the image has too many
 *   pixels
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
  if (header) checkPixels(name, header);
  await options.claim?.(decodedBytes(header));
  const showsStoredColors = header?.hasColorProfile === false && !header.hasAlpha;
  const decoded = await decodePixels(bytes, name, type, options);
  checkPixels(name, decoded.image); // the header may lack the size, or have another one
  // Chrome on Android reduces large JPEGs to save memory.
  if (header && header.width !== decoded.image.width && formatOf(bytes) === 'JPEG') {
    const { reduced } = await import('./otherFiles.js');
    throw reduced(name, decoded.image, header);
  }
  return { ...decoded, showsStoredColors };
}

type DecodedPixels = Omit<DecodedFile, 'showsStoredColors'>;

async function decodePixels(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  type: string,
  options: DecodeOptions,
): Promise<DecodedPixels> {
  const found = `${bytes.length} bytes${type && ` of type ${type}`}`;
  const decodeInBrowser = async ({ pieces, orientation, canvas }: PlainFile): Promise<DecodedPixels> => {
    if (typeof createImageBitmap !== 'function') {
      const { decodeInHost } = await import('./decodeInHost.js');
      return { image: await decodeInHost(pieces, name, found, canvas), orientation };
    }
    const image = await bitmapOf(new Blob(pieces, { type }), options.signal).catch(async (cause: unknown) => {
      options.signal?.throwIfAborted();
      const { notDecoded } = await import('./otherFiles.js');
      throw notDecoded(bytes, name, found, cause);
    });
    return { image, orientation, canvas };
  };
  switch (formatOf(bytes)) {
    case 'JPEG':
      return decodeJpeg(bytes, name, decodeInBrowser, options.signal);
    case 'PNG':
      return decodePngFile(bytes, name, decodeInBrowser, options);
    case 'GIF': {
      const { decodeGif } = await import('./gif.js');
      return { image: await decodeGif(bytes, name, options.signal), orientation: 1 };
    }
    case 'WebP': {
      const { plainWebp } = await import('./webp.js');
      return decodeInBrowser(plainWebp(bytes, name));
    }
    case 'BMP': {
      const { decodeBmp } = await import('./bmp.js');
      return { image: await decodeBmp(bytes, name, options.signal), orientation: 1 };
    }
    case 'AVIF': {
      const { plainAvif } = await import('./avif.js');
      return decodeInBrowser(plainAvif(bytes, name));
    }
    default: {
      const { refuseNonImage } = await import('./otherFiles.js');
      refuseNonImage(bytes, name);
      return decodeInBrowser({ pieces: [bytes], orientation: 1 });
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

/**
 * Decodes an image file with the browser's decoder, without colour management and without premultiplied
 * alpha.
 */
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

async function decodeJpeg(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  decodeInBrowser: (file: PlainFile) => Promise<DecodedPixels>,
  signal: AbortSignal | undefined,
): Promise<DecodedPixels> {
  const { EOI, prepareJpeg } = await import('./jpeg.js');
  const { orientation, channels, checkScans } = await prepareJpeg(bytes, name, signal);
  const decoding = decodeInBrowser({ pieces: [bytes], orientation });
  decoding.catch(() => undefined); // no unhandled rejection if decoding fails while the scans are checked
  const discard = (): Promise<void> => decoding.then(close, () => undefined);
  let cut: ImageError | undefined;
  try {
    cut = await checkScans();
  } catch (error) {
    await discard();
    throw error; // this error is more precise than the browser's
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
    decoded = decodeInBrowser({ pieces: [whole], orientation });
  }
  const fromBrowser = await decoded;
  if (channels !== 4) return fromBrowser;
  try {
    const { decodeCmyk } = await import('./jpegCmyk.js');
    const image = await decodeCmyk(whole, name, signal);
    if (!image) return fromBrowser;
    close(fromBrowser);
    return { image, orientation };
  } catch (error) {
    close(fromBrowser);
    throw error;
  }
}

async function decodePngFile(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  decodeInBrowser: (file: PlainFile) => Promise<DecodedPixels>,
  { losesAlpha, signal }: DecodeOptions,
): Promise<DecodedPixels> {
  const { decodePng, plainPng } = await import('./png.js');
  const { pieces, orientation, bitDepth, alpha, isWhole } = await plainPng(bytes, name, signal);
  const needsOurs =
    typeof createImageBitmap !== 'function' || bitDepth === 16 || (alpha && (await losesAlpha()));
  if (!needsOurs) {
    const [decoded, whole] = await Promise.allSettled([decodeInBrowser({ pieces, orientation }), isWhole()]);
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
