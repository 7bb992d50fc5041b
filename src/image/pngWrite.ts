/** PNG encoder for RGBA pixels of 8 bits. Works without a canvas, so also in Node. */
import { crcOf } from './crc32.js';

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
/** Colour types of PNG. */
const RGB = 2;
const RGBA = 6;
/** PNG's filter `Up`: each byte minus the byte above. Enlarged pictures become rows of small numbers. */
const UP = 2;

/**
 * Encodes a picture as a PNG file. The file has no alpha channel if all pixels are opaque.
 * @param pixels RGBA, (height, width, 4), alpha not multiplied
 */
export async function encodePng(
  pixels: Uint8ClampedArray<ArrayBuffer>,
  width: number,
  height: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const opaque = pixels.every((value, i) => i % 4 < 3 || value === 255);
  const channels = opaque ? 3 : 4;
  const rowBytes = 1 + width * channels;
  const rows = new Uint8Array(rowBytes * height);
  for (let y = 0; y < height; y++) {
    let to = y * rowBytes;
    rows[to++] = UP;
    for (let x = 0; x < width; x++) {
      const from = 4 * (y * width + x);
      for (let channel = 0; channel < channels; channel++) {
        const above = y > 0 ? pixels[from + channel - 4 * width]! : 0;
        rows[to++] = pixels[from + channel]! - above; // modulo 256, by the type of the array
      }
    }
  }
  const header = new DataView(new ArrayBuffer(13)); // its last three bytes, zeros, are the only methods of PNG
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8); // bits per channel
  header.setUint8(9, opaque ? RGB : RGBA);
  const file = [
    SIGNATURE,
    chunk('IHDR', new Uint8Array(header.buffer)),
    chunk('IDAT', await deflated(rows)),
    chunk('IEND', new Uint8Array(0)),
  ];
  return new Uint8Array(await new Blob(file).arrayBuffer());
}

async function deflated(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A chunk: length, kind, content, and the CRC of kind and content. */
function chunk(kind: string, content: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(12 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  for (let i = 0; i < 4; i++) bytes[4 + i] = kind.charCodeAt(i);
  bytes.set(content, 8);
  view.setUint32(8 + content.length, crcOf(bytes.subarray(4, 8 + content.length)));
  return bytes;
}
