/**
 * Decoder for CMYK JPEGs with 8-bit RGB output, exact to Pillow 12.3: libjpeg-turbo's inverse transform and
 * upsampling, then Pillow's rounding. Browsers truncate where Pillow rounds, so half of their values differ
 * by 1 of 255.
 */
import { ImageError } from '../errors.js';
import { Slices } from '../platform/pause.js';
import type { Pixels } from './pixels.js';
import { SLICE_MS } from './decodeErrors.js';
import { ScanBits } from './jpegBits.js';
import { JpegSegments, type Component, type Frame } from './jpegFrame.js';
import { progressiveReader } from './jpegProgressive.js';
import { readBlock, readScan, type ReadBlock } from './jpegScan.js';
import { samplesOf, upsampled, type Plane } from './jpegSamples.js';

/** The coefficients of a component. */
interface Channel {
  readonly component: Component;
  /** Blocks per row, including blocks past the image's edge. */
  readonly blocksAcross: number;
  readonly coefficients: Int16Array;
  /** The quantization table that was current at the component's first scan. */
  quantization?: Uint16Array | undefined;
  /**
   * For each of the first ten coefficients: the position of the lowest bit that the scans have contained so
   * far, or −1 if no scan has contained the coefficient.
   */
  readonly known: Int8Array;
}

/**
 * Decodes a CMYK JPEG. Returns undefined if the caller must use the browser's pixels: the file does not have
 * four channels, uses arithmetic coding, or is progressive with missing scans, which libjpeg smooths.
 *
 * @param name the file's name, for error messages
 * @throws ImageError IMAGE_SIZE, if the image is too large for memory
 * @throws `signal.reason` after an abort
 */
export async function decodeCmyk(
  bytes: Uint8Array,
  name: string,
  signal?: AbortSignal,
): Promise<Pixels | undefined> {
  try {
    return await decode(bytes, signal);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new ImageError(
      'IMAGE_SIZE',
      `${name}: not enough memory for the pixels of this CMYK JPEG. Make the image smaller first.`,
      { cause },
    );
  }
}

async function decode(bytes: Uint8Array, signal: AbortSignal | undefined): Promise<Pixels | undefined> {
  const segments = new JpegSegments(bytes);
  const channels: Channel[] = [];
  let frame: Frame | undefined;
  for (let at = 2; ;) {
    const scan = segments.nextScan(at);
    frame ??= segments.frame;
    if (!scan || frame?.components.length !== 4) break;
    if (channels.length === 0) channels.push(...frame.components.map((each) => channelOf(each, frame!)));
    for (const component of scan.components) {
      const channel = channels.find((each) => each.component === component);
      if (!channel) return undefined;
      channel.quantization ??= segments.quantization[component.quantization];
      for (let k = scan.from; k <= Math.min(9, scan.to); k++) channel.known[k] = scan.low;
    }
    const bits = new ScanBits(bytes, scan.begin);
    while (bits.more());
    const progressive = frame.progressive ? progressiveReader(bits, scan) : undefined;
    if (!progressive && (frame.progressive || scan.blocks.some(({ dc, ac }) => !dc || !ac))) return undefined;
    const alone = scan.components.length === 1;
    const read: ReadBlock = (block, column, row, fast) => {
      const { component } = block;
      const { blocksAcross, coefficients } = channels.find((each) => each.component === component)!;
      const x = alone ? column : column * component.across + block.x;
      const y = alone ? row : row * component.down + block.y;
      const to = 64 * (y * blocksAcross + x);
      return progressive
        ? progressive.read(block, coefficients, to)
        : readBlock(bits, block, fast, coefficients, to);
    };
    const { onRestart, always = false } = progressive ?? {};
    await readScan(bits, scan, read, {
      slow: frame.progressive,
      always,
      signal,
      ...(onRestart && { onRestart }),
    });
    at = bits.marker === 0 ? bits.at : bits.at - 2;
  }
  if (!frame || channels.length !== 4) return undefined;
  // libjpeg smooths a progressive image that has all DC coefficients but lacks some of the AC coefficients.
  const smooths =
    frame.progressive &&
    channels.every(({ known, quantization }) => quantization && known[0]! >= 0) &&
    channels.some(({ known }) => known.some((bit, k) => k > 0 && bit !== 0));
  if (smooths) return undefined;
  const planes: Plane[] = [];
  const zeros = new Uint16Array(64); // the table of a component without a scan
  for (const { component, blocksAcross, coefficients, quantization = zeros } of channels)
    planes.push(await samplesOf(component, blocksAcross, coefficients, quantization, signal));
  return pixelsOf(frame, planes, segments.adobeTransform, signal);
}

function channelOf(component: Component, { mcusAcross, mcusDown }: Frame): Channel {
  const blocksAcross = mcusAcross * component.across;
  return {
    component,
    blocksAcross,
    coefficients: new Int16Array(64 * blocksAcross * mcusDown * component.down),
    known: new Int8Array(10).fill(-1),
  };
}

/**
 * Converts samples to RGBA pixels. Returns undefined if the sampling factors do not divide each other, which
 * libjpeg refuses.
 */
async function pixelsOf(
  { width, height, mostAcross, mostDown, components }: Frame,
  planes: readonly Plane[],
  adobeTransform: number | undefined,
  signal: AbortSignal | undefined,
): Promise<Pixels | undefined> {
  const rowOf = planes.map((plane, i) => upsampled(plane, components[i]!, mostAcross, mostDown));
  if (rowOf.includes(undefined)) return undefined;
  const data = new Uint8Array(width * height * 4);
  // Without an Adobe segment, or with transform 0, the channels are CMYK. Any other transform means YCCK.
  const ycck = adobeTransform !== undefined && adobeTransform !== 0;
  const slices = new Slices(SLICE_MS, signal);
  for (let y = 0; y < height; y++) {
    const [first, second, third, black] = rowOf.map((each) => each!(y)) as [
      Uint8Array,
      Uint8Array,
      Uint8Array,
      Uint8Array,
    ];
    for (let x = 0, to = y * width * 4; x < width; x++, to += 4) {
      let [cyan, magenta, yellow] = [first[x]!, second[x]!, third[x]!];
      if (ycck) {
        const [luma, blue, red] = [cyan, magenta - 128, yellow - 128];
        cyan = clamped(255 - (luma + ((91881 * red + 32768) >> 16)));
        magenta = clamped(255 - (luma + ((-22554 * blue - 46802 * red + 32768) >> 16)));
        yellow = clamped(255 - (luma + ((116130 * blue + 32768) >> 16)));
      }
      // CMYK JPEGs store 255 − ink.
      const light = black[x]!;
      data[to] = light - product(255 - cyan, light);
      data[to + 1] = light - product(255 - magenta, light);
      data[to + 2] = light - product(255 - yellow, light);
      data[to + 3] = 255;
    }
    const rest = slices.rest();
    if (rest) await rest;
  }
  return { data, width, height };
}

const clamped = (value: number): number => Math.max(0, Math.min(255, value));

/** Computes a · b / 255, rounded as in Pillow. */
function product(a: number, b: number): number {
  const whole = a * b + 128;
  return ((whole >> 8) + whole) >> 8;
}
