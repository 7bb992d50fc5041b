/**
 * Prepares a WebP for the browser's decoder: checks that the file is complete, reads its orientation, and
 * extracts the first frame of an animation as a still. Alpha is removed, because Firefox premultiplies the
 * colours of every bitmap, and Chromium and Firefox premultiply the colours of an animation.
 */
import type { Canvas } from './pixels.js';
import { checkPixels, damaged, endsTooEarly } from './decodeErrors.js';
import { latin1, orientationOf, orientationOfXmp, withoutExifName } from './orientation.js';

/** A still WebP without alpha. */
export interface PlainWebp {
  /** The file for the browser's decoder, in consecutive pieces. */
  readonly pieces: Uint8Array<ArrayBuffer>[];
  /** Exif orientation, 1 to 8. */
  readonly orientation: number;
  /** Position of an animation's frame on its canvas. */
  readonly canvas?: Canvas;
}

const [PROFILE, ALPHA, ANIMATION] = [0x20, 0x10, 0x02];

/**
 * Prepares a WebP for the browser's decoder. Edits `bytes` in place.
 * @throws ImageError IMAGE_DECODE, if Pillow refuses the file because of its chunks; IMAGE_SIZE, if the canvas
 *   has too many pixels
 */
export function plainWebp(bytes: Uint8Array<ArrayBuffer>, name: string): PlainWebp {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = bytes.length < 8 ? Infinity : 8 + view.getUint32(4, true);
  if (size > bytes.length) throw endsTooEarly(name, 'WebP', `at byte ${bytes.length} of ${size}`);
  let [exif, xmp, canvas]: [number | undefined, number | undefined, Canvas | undefined] = [
    undefined,
    undefined,
    undefined,
  ];
  let animated = false;
  let frame: PlainWebp | undefined;
  // A chunk: name (4 bytes), length of the content (4), content, padding to an even length.
  for (let at = 12; at + 8 <= size;) {
    const kind = latin1(bytes.subarray(at, at + 4));
    const [begin, length] = [at + 8, view.getUint32(at + 4, true)];
    const end = begin + length + (length % 2);
    if (end > size)
      throw endsTooEarly(name, 'WebP', `at byte ${size}, within the chunk ${kind.trim()} of byte ${at}`);
    const content = bytes.subarray(begin, begin + length);
    // Decoders ignore a VP8X that is not the first chunk, and so does `readImageHeader`.
    if (kind === 'VP8X' && at === 12 && length >= 10) {
      animated = (content[0]! & ANIMATION) !== 0;
      canvas = { left: 0, top: 0, width: 1 + uint24(content, 4), height: 1 + uint24(content, 7) };
      checkPixels(name, canvas);
      content[0]! &= ~(ALPHA | PROFILE);
    } else if (kind === 'EXIF') {
      exif ??= orientationOf(withoutExifName(content));
    } else if (kind === 'XMP ') {
      xmp ??= orientationOfXmp(content);
    } else if (kind === 'VP8L') {
      withoutAlpha(content);
    } else if (kind === 'ANMF' && animated && canvas) {
      const each = frameOf(content, canvas, name); // checks every frame: Pillow refuses a broken one
      frame ??= each;
    }
    // 'X…' is a name that decoders ignore. Safari converts the colours of a file with a profile.
    if (/EXIF|ALPH|ICCP/.test(kind)) bytes[at] = 0x58;
    at = end;
  }
  if (animated && !frame) throw damaged(name, 'WebP', 'an animation without a frame');
  return { ...(frame ?? { pieces: [bytes] }), orientation: exif ?? xmp ?? 1 };
}

const uint24 = (bytes: Uint8Array, at: number): number =>
  bytes[at]! + bytes[at + 1]! * 256 + bytes[at + 2]! * 65536;

/** Clears the alpha flag of a lossless WebP picture. The stored colours do not change. */
function withoutAlpha(content: Uint8Array): void {
  if (content.length > 4) content[4]! &= ~ALPHA;
}

/** Converts an animation's frame to a still. `content` is the content of the frame's chunk. */
function frameOf(content: Uint8Array<ArrayBuffer>, { width, height }: Canvas, name: string): PlainWebp {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const [left, top] = [2 * uint24(content, 0), 2 * uint24(content, 3)];
  const [right, bottom] = [left + 1 + uint24(content, 6), top + 1 + uint24(content, 9)];
  if (right > width || bottom > height)
    throw damaged(name, 'WebP', `a frame to ${right} × ${bottom} on a canvas of ${width} × ${height}`);
  for (let at = 16; at + 8 <= content.length;) {
    const kind = latin1(content.subarray(at, at + 4));
    const length = view.getUint32(at + 4, true);
    const end = at + 8 + length + (length % 2);
    if (end > content.length) break;
    if (kind === 'VP8 ' || kind === 'VP8L') {
      if (kind === 'VP8L') withoutAlpha(content.subarray(at + 8, end));
      const head = new Uint8Array(12);
      head.set([0x52, 0x49, 0x46, 0x46]); // RIFF
      new DataView(head.buffer).setUint32(4, 4 + end - at, true);
      head.set([0x57, 0x45, 0x42, 0x50], 8); // WEBP
      return {
        pieces: [head, content.subarray(at, end)],
        orientation: 1,
        canvas: { left, top, width, height },
      };
    }
    at = end;
  }
  throw damaged(name, 'WebP', 'a first frame without a picture');
}
