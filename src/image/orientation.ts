/**
 * Which way up. Browsers turn a photograph as its Exif data say, each of them in other formats (Chromium 147 no WebP), and no option of
 * createImageBitmap keeps them all from it ("none" has meant both, and is not in the HTML standard). So the Exif data of JPEG, PNG and WebP are
 * read here and taken out of the file, and the first pass of the resize turns the image (shaders/resize.wgsl). A format whose turns are part of
 * the image itself (AVIF, HEIC) is left to the browser.
 */

const [FLIP_X, FLIP_Y, TRANSPOSE] = [1, 2, 4];

/** By orientation (1 to 8; there is no 0): `turn` of shaders/resize.wgsl, from a pixel of the upright image to where the file has it. */
export const TURNS: readonly number[] = [0, 0, FLIP_X, FLIP_X | FLIP_Y, FLIP_Y, TRANSPOSE, TRANSPOSE | FLIP_Y, TRANSPOSE | FLIP_X | FLIP_Y, TRANSPOSE | FLIP_X];

/** Whether width and height change places in an image of this orientation. */
export const liesOnItsSide = (orientation: number): boolean => orientation >= 5;

/** A file without its Exif data, and what they said. */
export interface Exif {
  /** Views of the bytes that were read, in which a chunk may have lost its name. */
  readonly pieces: Uint8Array<ArrayBuffer>[];
  /** 1 to 8: TIFF's tag 274. 1, upright as it lies, where there is none. */
  readonly orientation: number;
}

/** Takes the Exif data out of a file. A file cut off anywhere is no error here: whoever decodes it will say so. */
export function takeExif(bytes: Uint8Array<ArrayBuffer>): Exif {
  const text = (at: number, length: number): string => String.fromCharCode(...bytes.subarray(at, at + length));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = bytes.length;
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let from = 0;
  let orientation: number | undefined;
  const drop = (begin: number, end: number): void => {
    pieces.push(bytes.subarray(from, begin));
    from = Math.min(end, size);
  };
  /** The first Exif data count. */
  const read = (begin: number, end: number): void => {
    const named = text(begin, 6) === 'Exif\0\0'; // ahead of TIFF's header in a JPEG, and in some WebP
    orientation ??= orientationOf(bytes.subarray(named ? begin + 6 : begin, end));
  };

  if (text(0, 3) === '\xff\xd8\xff') {
    // Segments stand ahead of the first scan: marker (2 bytes), length (2, itself included), content.
    for (let at = 2; at + 10 <= size && bytes[at] === 0xff; ) {
      const marker = bytes[at + 1]!;
      if (marker === 0xda || marker === 0xd9) break;
      const end = marker === 0xff ? at + 1 : at + 2 + view.getUint16(at + 2);
      if (marker === 0xe1 && text(at + 4, 4) === 'Exif') {
        read(at + 4, end);
        drop(at, end);
      }
      at = end;
    }
  } else if (text(1, 3) === 'PNG') {
    // Chunks: length of the content (4 bytes), name (4), content, check sum (4).
    for (let at = 8; at + 12 <= size; ) {
      const end = at + 12 + view.getUint32(at);
      if (text(at + 4, 4) === 'eXIf') {
        read(at + 8, end - 4);
        drop(at, end);
      }
      at = end;
    }
  } else if (text(0, 4) === 'RIFF' && text(8, 4) === 'WEBP') {
    // Chunks: name (4 bytes), length of the content (4), content, filled up to an even length. The header holds the length of the file.
    for (let at = 12; at + 8 <= size; ) {
      const length = view.getUint32(at + 4, true);
      if (text(at, 4) === 'EXIF') {
        read(at + 8, at + 8 + length);
        bytes.set([0x4e, 0x4f, 0x4e, 0x45], at);
      }
      at += 8 + length + (length % 2);
    }
  }
  pieces.push(bytes.subarray(from));
  return { pieces, orientation: orientation ?? 1 };
}

/** Tag 274 of the first directory of a TIFF: one number of 16 bits, 1 to 8. */
function orientationOf(tiff: Uint8Array): number | undefined {
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  if (tiff.length < 8) return undefined;
  const order = view.getUint16(0);
  const little = order === 0x4949;
  if (!little && order !== 0x4d4d) return undefined;
  const directory = view.getUint32(4, little);
  if (directory + 2 > tiff.length) return undefined;
  const entries = view.getUint16(directory, little);
  // An entry: tag (2 bytes), type (2; 3 is 16 bits), count (4), value (4).
  for (let at = directory + 2, i = 0; i < entries && at + 12 <= tiff.length; i++, at += 12) {
    if (view.getUint16(at, little) !== 274 || view.getUint16(at + 2, little) !== 3) continue;
    const value = view.getUint16(at + 8, little);
    return value >= 1 && value <= 8 ? value : undefined;
  }
  return undefined;
}
