/**
 * What a file holds beside its colours, taken out before a browser decodes it, because browsers act on it
 * each in their own way and no option of createImageBitmap keeps them all from it. Exif data: Chromium 147
 * turns by those of JPEG and PNG, not of WebP, and "none" has meant both. Alpha that is not looked at here,
 * but with which Firefox 153 multiplies the colours of every bitmap (WebP, a PNG's tRNS), and both browsers
 * those of a GIF.
 */
import { orientationOf } from './orientation.js';

/** A file whose pixels a browser decodes as they lie there. */
export interface PlainFile {
  /**
   * Views of the bytes that were read, in which chunks of a WebP or GIF may have lost their names and flags.
   */
  readonly pieces: Uint8Array<ArrayBuffer>[];
  /** 1 to 8, as the Exif data of a JPEG, PNG or WebP said. 1, upright as it lies, where there were none. */
  readonly orientation: number;
}

/** A file cut off anywhere is no error here: whoever decodes it will say so. */
export function plainFile(bytes: Uint8Array<ArrayBuffer>): PlainFile {
  const text = (at: number, length: number): string =>
    String.fromCharCode(...bytes.subarray(at, at + length));
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
  const readExif = (begin: number, end: number): void => {
    const named = text(begin, 6) === 'Exif\0\0'; // ahead of TIFF's header in a JPEG, and in some WebP
    orientation ??= orientationOf(bytes.subarray(named ? begin + 6 : begin, end));
  };

  if (text(0, 3) === '\xff\xd8\xff') {
    // Segments stand ahead of the first scan: marker (2 bytes), length (2, itself included), content.
    for (let at = 2; at + 10 <= size && bytes[at] === 0xff;) {
      const marker = bytes[at + 1]!;
      if (marker === 0xda || marker === 0xd9) break;
      const end = marker === 0xff ? at + 1 : at + 2 + view.getUint16(at + 2);
      if (marker === 0xe1 && text(at + 4, 4) === 'Exif') {
        readExif(at + 4, end);
        drop(at, end);
      }
      at = end;
    }
  } else if (text(1, 3) === 'PNG') {
    // Chunks: length of the content (4 bytes), name (4), content, check sum (4).
    for (let at = 8; at + 12 <= size;) {
      const end = at + 12 + view.getUint32(at);
      const name = text(at + 4, 4);
      if (name === 'eXIf') readExif(at + 8, end - 4);
      if (name === 'eXIf' || name === 'tRNS') drop(at, end);
      at = end;
    }
  } else if (text(0, 4) === 'RIFF' && text(8, 4) === 'WEBP') {
    // Chunks: name (4 bytes), length of the content (4), content, filled up to an even length. The header
    // holds the length of the file.
    for (let at = 12; at + 8 <= size;) {
      const length = view.getUint32(at + 4, true);
      const name = text(at, 4);
      if (name === 'EXIF') readExif(at + 8, at + 8 + length);
      if (name === 'EXIF' || name === 'ALPH') bytes[at] = 0x58; // a name that nobody knows
      const flags = name === 'VP8X' ? at + 8 : name === 'VP8L' ? at + 12 : size;
      if (flags < size) bytes[flags]! &= ~0x10; // alpha
      at += 8 + length + (length % 2);
    }
  }
  if (text(0, 3) === 'GIF') {
    // Blocks ahead of the first picture: 0x21, a label, then parts behind their lengths (1 byte each), the
    // last of length 0.
    const palette = bytes[10]! & 0x80 ? 6 << (bytes[10]! & 7) : 0;
    for (let at = 13 + palette; bytes[at] === 0x21; at++) {
      if (bytes[at + 1] === 0xf9) bytes[at + 3]! &= ~1; // transparency
      for (at += 2; bytes[at];) at += 1 + bytes[at]!;
    }
  }
  pieces.push(bytes.subarray(from));
  return { pieces, orientation: orientation ?? 1 };
}
