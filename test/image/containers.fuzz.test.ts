/**
 * Fuzz test of the readers of image files, with a fixed seed: PNG, JPEG, WebP, GIF, BMP and AVIF. The blocks of a valid
 * file are removed, repeated, exchanged and cut; numbers in them become 0, 1, the largest or another block's length.
 * The readers may only throw ImageError. A decoded image has the size of the header, and no more pixels than
 * Pillow reads. In Node the library decodes PNG, GIF and BMP itself; of the other formats, it reads the containers.
 */
import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ImageError } from '../../src/errors.ts';
import { plainAvif } from '../../src/image/avif.ts';
import { decodeFile } from '../../src/image/decode.ts';
import { decodedBytes, readImageHeader } from '../../src/image/imageHeader.ts';
import { prepareJpeg } from '../../src/image/jpeg.ts';
import { endOfBlocks } from '../../src/image/jpegScan.ts';
import { plainWebp } from '../../src/image/webp.ts';
import { full, long } from '../full.ts';
import { Random } from '../random.ts';
import { read } from './files.ts';

type Bytes = Uint8Array<ArrayBuffer>;

/** Files per format. */
const RUNS = long ? 1_000_000 : full ? 20_000 : 1000;
const FOLDER = 'test/fixtures/pixels/images';
/** Larger files would spend the time on their pixels. */
const MOST_BYTES = 12_000;

const seeds = (ending: string): Bytes[] =>
  readdirSync(FOLDER)
    .filter((name) => name.endsWith(ending))
    .map((name) => read(`${FOLDER}/${name}`))
    .filter(({ length }) => length <= MOST_BYTES);

/** Cuts a file before each of its blocks, as far as their lengths are valid. */
type Cut = (bytes: Bytes) => number[];

function cutsBy(begin: number, next: (view: DataView, at: number) => number): Cut {
  return (bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const cuts: number[] = [];
    for (let at = begin; at + 12 < bytes.length && cuts.length < 100; at = next(view, at)) cuts.push(at);
    return cuts;
  };
}

const formats: Readonly<Record<string, { readonly cuts: Cut; readonly check: (bytes: Bytes) => unknown }>> = {
  png: { cuts: cutsBy(8, (view, at) => at + 12 + view.getUint32(at)), check: decodeOwn },
  gif: { cuts: () => [6, 13, 781], check: decodeOwn },
  bmp: { cuts: () => [14, 18, 26, 30, 54], check: decodeOwn },
  jpg: {
    cuts: cutsBy(2, (view, at) => at + 2 + view.getUint16(at + 2)),
    check: async (bytes) => {
      const { checkScans } = await prepareJpeg(bytes, 'file');
      if (await checkScans()) await endOfBlocks(bytes);
    },
  },
  webp: {
    cuts: cutsBy(12, (view, at) => at + 8 + view.getUint32(at + 4, true)),
    check: (bytes) => plainWebp(bytes, 'file'),
  },
  avif: { cuts: cutsBy(0, (view, at) => at + Math.max(8, view.getUint32(at))), check: plainAvif },
};

async function decodeOwn(bytes: Bytes): Promise<void> {
  const header = readImageHeader(bytes)!;
  const { image } = await decodeFile(bytes, 'file', '', { losesAlpha: () => Promise.resolve(true) });
  expect(image).toMatchObject({ width: header.width, height: header.height });
  expect('data' in image && image.data.length).toBe(header.width * header.height * 4);
}

const NUMBERS = [0, 1, 2, 7, 8, 12, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

function mutated(file: Bytes, cuts: number[], random: Random): Bytes {
  let blocks = [...cuts, file.length].map((end, i) => file.subarray(i === 0 ? 0 : cuts[i - 1]!, end));
  for (let count = random.integer(0, 2); count > 0; count--) {
    const [i, j] = [random.integer(1, blocks.length - 1), random.integer(1, blocks.length - 1)];
    const kind = random.integer(0, 3);
    if (kind === 0) blocks = blocks.toSpliced(i, 1);
    else if (kind === 1) blocks = blocks.toSpliced(i, 0, blocks[j]!);
    else if (kind === 2) blocks = blocks.with(i, blocks[j]!).with(j, blocks[i]!);
    else blocks = blocks.with(i, blocks[i]!.subarray(0, random.integer(0, blocks[i]!.length)));
    if (blocks.length < 2) break;
  }
  const bytes = new Uint8Array(Buffer.concat(blocks));
  const view = new DataView(bytes.buffer);
  const starts = blocks.map((_, i) => blocks.slice(0, i).reduce((sum, { length }) => sum + length, 0));
  for (let count = random.integer(0, 3); count > 0 && bytes.length > 4; count--) {
    const near = random.pick(starts) + random.integer(0, 31);
    const at = Math.min(random.next() < 0.8 ? near : random.integer(0, bytes.length), bytes.length - 4);
    const number = random.next() < 0.7 ? random.pick(NUMBERS) : random.integer(0, bytes.length);
    const little = random.next() < 0.5;
    const width = random.pick([1, 2, 4]);
    if (width === 1) view.setUint8(at, number);
    else if (width === 2) view.setUint16(at, number, little);
    else view.setUint32(at, number, little);
  }
  return bytes;
}

/** Pixels that a mutated file of some kilobytes may have here: more would spend the time on filling memory. */
const MOST_PIXELS = 2 ** 20;

test.each(Object.entries(formats))(
  `${RUNS} files: %s`,
  { timeout: 60_000 + RUNS * 20 },
  async (ending, { cuts, check }) => {
    const random = new Random(20);
    const files = seeds(`.${ending}`).map((file) => [file, cuts(file)] as const);
    expect(files.length).toBeGreaterThan(0);
    const codes = new Map<string, number>();
    for (let run = 0; run < RUNS; run++) {
      const bytes = mutated(...random.pick(files), random);
      const text = (): string => Buffer.from(bytes).toString('base64');
      const begin = performance.now();
      let code = 'read';
      try {
        const header = readImageHeader(bytes);
        expect(decodedBytes(header)).toBeGreaterThanOrEqual(0);
        const pixels = (header?.width ?? 0) * (header?.height ?? 0);
        // Larger images are left to the limit of pixels, which png.test.ts tests.
        if (check !== decodeOwn || (pixels > 0 && pixels <= MOST_PIXELS)) await check(bytes);
        else code = 'large';
      } catch (error) {
        if (!(error instanceof ImageError))
          throw new Error(`${String(error)}, from ${text()}`, { cause: error });
        code = error.code;
      }
      const ms = performance.now() - begin;
      if (ms > 2000) throw new Error(`${ms} ms for ${bytes.length} bytes: ${text()}`);
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    // Both outcomes must occur, else the mutations are too weak or too strong.
    expect(codes.get('read') ?? 0).toBeGreaterThan(RUNS / 50);
    if (ending !== 'avif') expect(codes.get('IMAGE_DECODE') ?? 0).toBeGreaterThan(RUNS / 10);
  },
);
