/**
 * JPEG in cyan, magenta, yellow and black → red, green, blue, as Pillow 12.3 has it: libjpeg-turbo's transform
 * and interpolation, then Pillow's rounding. Browsers cut where Pillow rounds, so that half of the values are
 * 1 of 255 away.
 */
import { ImageError } from '../errors.js';
import { Slices } from '../platform/pause.js';
import type { Pixels } from './decode.js';
import { SLICE_MS } from './decodeErrors.js';
import { ScanBits } from './jpegBits.js';
import { JpegSegments, type Component, type Frame } from './jpegFrame.js';
import { progressiveReader } from './jpegProgressive.js';
import { readBlock, readScan, type ReadBlock } from './jpegScan.js';
import { samplesOf, upsampled, type Plane } from './jpegSamples.js';

/** Coefficients of a component, and the quantization table at its first scan. */
interface Channel {
  readonly component: Component;
  /** Blocks across, those beyond the image's edge included. */
  readonly blocksAcross: number;
  readonly coefficients: Int16Array;
  quantization?: Uint16Array | undefined;
  /** Of the first ten coefficients, the lowest bit that is known: −1 for none. */
  readonly known: Int8Array;
}

/**
 * Decodes the file that a browser decodes. Undefined where that has to do: it has other than four channels,
 * its coding is arithmetic, or it is progressive and lacks scans, which libjpeg smooths.
 *
 * @param name of the file, for messages
 * @throws ImageError IMAGE_SIZE (larger than memory holds)
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
      `${name}: expected memory for the pixels of a JPEG in CMYK, found too little. Make the image smaller first.`,
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
  // libjpeg smooths a progressive image of which it knows all DC coefficients and not all others.
  const smooths =
    frame.progressive &&
    channels.every(({ known, quantization }) => quantization && known[0]! >= 0) &&
    channels.some(({ known }) => known.some((bit, k) => k > 0 && bit !== 0));
  if (smooths) return undefined;
  const planes: Plane[] = [];
  const zeros = new Uint16Array(64); // of a component that no scan has
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

/** Undefined where samplings do not divide each other, which libjpeg refuses. */
async function pixelsOf(
  { width, height, mostAcross, mostDown, components }: Frame,
  planes: readonly Plane[],
  adobeTransform: number | undefined,
  signal: AbortSignal | undefined,
): Promise<Pixels | undefined> {
  const rowOf = planes.map((plane, i) => upsampled(plane, components[i]!, mostAcross, mostDown));
  if (rowOf.includes(undefined)) return undefined;
  const data = new Uint8Array(width * height * 4);
  // Without Adobe's segment the four are as they are; with one, all but 0 is taken for YCCK.
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
      // Files hold 255 less the ink.
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

/** a · b / 255, rounded. */
function product(a: number, b: number): number {
  const whole = a * b + 128;
  return ((whole >> 8) + whole) >> 8;
}
