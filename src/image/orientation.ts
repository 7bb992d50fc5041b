/**
 * Pixels in the order in which a file holds them. Browsers turn a photograph upright as its Exif data say, and no option of
 * createImageBitmap keeps them all from it ("none" has meant both, and is not in the HTML standard), so the Exif data are taken out of the
 * file. JPEG, PNG and WebP; a format whose turns are part of the image itself (AVIF, HEIC) comes back as it is.
 */

/** The bytes of a file without its Exif data, in pieces: views of `bytes`, in which a WebP's chunk may have lost its name. */
export function withoutExif(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] {
  const text = (at: number, length: number): string => String.fromCharCode(...bytes.subarray(at, at + length));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = bytes.length;
  const kept: Uint8Array<ArrayBuffer>[] = [];
  let from = 0;
  const drop = (begin: number, end: number): void => {
    kept.push(bytes.subarray(from, begin));
    from = Math.min(end, size);
  };

  if (text(0, 3) === '\xff\xd8\xff') {
    // Segments stand ahead of the first scan: marker (2 bytes), length (2, itself included), content.
    for (let at = 2; at + 10 <= size && bytes[at] === 0xff; ) {
      const marker = bytes[at + 1]!;
      if (marker === 0xda || marker === 0xd9) break;
      const end = marker === 0xff ? at + 1 : at + 2 + view.getUint16(at + 2);
      if (marker === 0xe1 && text(at + 4, 4) === 'Exif') drop(at, end);
      at = end;
    }
  } else if (text(1, 3) === 'PNG') {
    // Chunks: length of the content (4 bytes), name (4), content, check sum (4).
    for (let at = 8; at + 12 <= size; ) {
      const end = at + 12 + view.getUint32(at);
      if (text(at + 4, 4) === 'eXIf') drop(at, end);
      at = end;
    }
  } else if (text(0, 4) === 'RIFF' && text(8, 4) === 'WEBP') {
    // Chunks: name (4 bytes), length of the content (4), content, filled up to an even length. The header holds the length of the file.
    for (let at = 12; at + 8 <= size; ) {
      if (text(at, 4) === 'EXIF') bytes.set([0x4e, 0x4f, 0x4e, 0x45], at);
      const length = view.getUint32(at + 4, true);
      at += 8 + length + (length % 2);
    }
  }
  kept.push(bytes.subarray(from));
  return kept;
}
