/** Reads the Exif orientation of an image. The first pass of the resize (shaders/resize.wgsl) applies it. */

/** Bit masks of `turn` in shaders/resize.wgsl. */
export const TURN_FLIP_X = 1;
export const TURN_FLIP_Y = 2;
export const TURN_TRANSPOSE = 4;

/**
 * Value of `turn` in shaders/resize.wgsl, by Exif orientation (1 to 8; index 0 is unused). Maps the position
 * of a pixel in the upright image to its position in the file.
 */
export const TURNS: readonly number[] = [
  0,
  0,
  TURN_FLIP_X,
  TURN_FLIP_X | TURN_FLIP_Y,
  TURN_FLIP_Y,
  TURN_TRANSPOSE,
  TURN_TRANSPOSE | TURN_FLIP_Y,
  TURN_TRANSPOSE | TURN_FLIP_X | TURN_FLIP_Y,
  TURN_TRANSPOSE | TURN_FLIP_X,
];

/**
 * Returns true if the upright image has the stored width as its height and the stored height as its width.
 */
export const swapsSides = (orientation: number): boolean => orientation >= 5;

/**
 * Size in bytes of each numeric TIFF type. The types BYTE, ASCII and UNDEFINED (1, 2, 7) are absent, because
 * Pillow reads no numbers from them.
 */
const NUMBER_BYTES: Record<number, number> = {
  3: 2,
  4: 4,
  5: 8,
  6: 1,
  8: 2,
  9: 4,
  10: 8,
  11: 4,
  12: 8,
  13: 4,
};

/**
 * Reads the orientation (tag 274) from the first directory of a TIFF. As in Pillow, the value may have any
 * numeric type, and only the first value of the tag counts. If the tag is repeated, the last one counts.
 *
 * @returns 1 to 8; 1 for an invalid value; undefined if the tag is absent
 */
export function orientationOf(tiff: Uint8Array): number | undefined {
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  if (tiff.length < 8) return undefined;
  const order = view.getUint16(0);
  const little = order === 0x4949;
  if (!little && order !== 0x4d4d) return undefined;
  const directory = view.getUint32(4, little);
  if (directory + 2 > tiff.length) return undefined;
  const entries = view.getUint16(directory, little);
  let found: number | undefined;
  // An entry: tag (2 bytes), type (2), count (4), values (4). Values longer than 4 bytes are stored
  // elsewhere; the entry then holds their offset.
  for (let at = directory + 2, i = 0; i < entries && at + 12 <= tiff.length; i++, at += 12) {
    if (view.getUint16(at, little) !== 274) continue;
    const type = view.getUint16(at + 2, little);
    const bytes = (NUMBER_BYTES[type] ?? 1) * view.getUint32(at + 4, little);
    if (bytes === 0) continue;
    const values = bytes > 4 ? view.getUint32(at + 8, little) : at + 8;
    if (values + bytes > tiff.length) continue;
    const value = type in NUMBER_BYTES ? numberAt(view, values, type, little) : 1;
    found = Number.isInteger(value) && value >= 1 && value <= 8 ? value : 1;
  }
  return found;
}

function numberAt(view: DataView, at: number, type: number, little: boolean): number {
  switch (type) {
    case 3:
      return view.getUint16(at, little);
    case 5:
      return view.getUint32(at, little) / view.getUint32(at + 4, little);
    case 6:
      return view.getInt8(at);
    case 8:
      return view.getInt16(at, little);
    case 9:
      return view.getInt32(at, little);
    case 10:
      return view.getInt32(at, little) / view.getInt32(at + 4, little);
    case 11:
      return view.getFloat32(at, little);
    case 12:
      return view.getFloat64(at, little);
    default:
      return view.getUint32(at, little);
  }
}

/**
 * Reads the orientation from XMP, for files without an Exif orientation. Returns undefined if the XMP has no
 * `tiff:Orientation`.
 */
export function orientationOfXmp(xmp: Uint8Array): number | undefined {
  const [, digit] = /tiff:Orientation(?:="|>)([0-9])/.exec(new TextDecoder('latin1').decode(xmp)) ?? [];
  if (digit === undefined) return undefined;
  return digit >= '1' && digit <= '8' ? Number(digit) : 1;
}

/** Strips the prefix `Exif\0\0` from Exif data. JPEGs have the prefix, and other files may have it. */
export function withoutExifName(bytes: Uint8Array): Uint8Array {
  return latin1(bytes.subarray(0, 6)) === 'Exif\0\0' ? bytes.subarray(6) : bytes;
}

/**
 * Converts each byte to the character with that code. `TextDecoder('latin1')` decodes windows-1252 instead.
 */
export function latin1(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 8192)
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text;
}
