/**
 * BMP, ahead of the browser's decoder: that all rows are there. Firefox shows what there is of a file that is
 * cut off; Chromium also refuses one that lacks the last bytes of fill alone, which Pillow reads.
 */
import { endsTooEarly } from './decodeErrors.js';

/** @throws ImageError IMAGE_DECODE where rows are missing */
export function plainBmp(bytes: Uint8Array<ArrayBuffer>, name: string): Uint8Array<ArrayBuffer>[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [offset, header] = [view.getUint32(10, true), view.getUint32(14, true)];
  if (header < 40 || bytes.length < 34) return [bytes]; // OS/2's, which are rare
  const [width, height] = [view.getInt32(18, true), Math.abs(view.getInt32(22, true))];
  const [bits, compression] = [view.getUint16(28, true), view.getUint32(30, true)];
  if (compression !== 0 && compression !== 3) return [bytes]; // packed rows have no length of their own
  const rowBytes = Math.ceil((width * bits) / 8);
  const stride = Math.ceil(rowBytes / 4) * 4;
  const needed = offset + stride * (height - 1) + rowBytes;
  if (needed > bytes.length) throw endsTooEarly(name, 'BMP', `at byte ${bytes.length} of ${needed}`);
  return [bytes, new Uint8Array(stride - rowBytes)];
}
