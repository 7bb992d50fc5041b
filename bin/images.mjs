// Reads image files for `embed`.
import { readFile } from 'node:fs/promises';

/**
 * Whether a file is JPEG, WebP or TIFF, by its first bytes. `sharp` decodes these formats to the same pixels
 * as Pillow.
 */
const isForSharp = (bytes) =>
  /^(\xff\xd8\xff|RIFF[^]{4}WEBP|II\*\0|MM\0\*)/.test(bytes.toString('latin1', 0, 12));
const isTiff = (bytes) => bytes[0] === bytes[1] && bytes[0] !== 0xff;

/**
 * Reads an image as Pillow's `Image.open(file).convert('RGB')` does: its colour profile is ignored, and Exif
 * orientation is applied only to TIFF. `sharp` decodes JPEG, WebP and TIFF. The library decodes all other
 * files, or rejects them.
 */
export async function readImage(path) {
  const bytes = await readFile(path);
  if (!isForSharp(bytes)) return new File([bytes], path);
  const { default: sharp } = await import('sharp').catch((cause) => {
    throw new Error(
      `${path}: expected a PNG, GIF or BMP, found another format. Install the package sharp, or convert the image to PNG.`,
      { cause },
    );
  });
  const image = sharp(bytes, { ignoreIcc: true });
  const { space, depth } = await image.metadata();
  if (space === 'cmyk')
    throw new Error(
      `${path}: expected an image in RGB or grey, found CMYK, whose conversion to RGB is not standardised. Convert it to RGB.`,
    );
  if (depth !== 'uchar' || (space !== 'srgb' && space !== 'b-w'))
    throw new Error(
      `${path}: expected 8 bits a channel in RGB or grey, found ${depth} in ${space}, which Pillow reads differently. Convert it to an 8-bit PNG.`,
    );
  const { data, info } = await (isTiff(bytes) ? image.autoOrient() : image)
    .removeAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true });
  const rgba = new Uint8ClampedArray(info.width * info.height * 4).fill(255);
  for (let i = 0, from = 0; i < rgba.length; i += 4, from += info.channels)
    rgba.set(
      [data[from], data[from + (info.channels > 1 ? 1 : 0)], data[from + (info.channels > 2 ? 2 : 0)]],
      i,
    );
  return { data: rgba, width: info.width, height: info.height };
}
