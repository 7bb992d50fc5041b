/**
 * Fuzz test of the readers of image files, with a fixed seed: mutated PNG, JPEG, WebP, GIF, BMP and AVIF. The readers may only throw ImageError. A decoded image has the size of the header, and no more pixels than
 * Pillow reads. In Node the library decodes PNG, GIF and BMP itself; of the other formats, it reads the containers.
 */
import { expect, test } from 'vitest';
import { ImageError } from '../../src/errors.ts';
import { plainAvif } from '../../src/image/avif.ts';
import { decodeFile } from '../../src/image/decode.ts';
import { decodedBytes, readImageHeader } from '../../src/image/imageHeader.ts';
import { prepareJpeg } from '../../src/image/jpeg.ts';
import { endOfBlocks } from '../../src/image/jpegScan.ts';
import { plainWebp } from '../../src/image/webp.ts';
import { codeOf, Corpus } from '../corpus.ts';
import { full, long } from '../full.ts';
import { mutatedFiles, type Bytes } from './mutated.ts';

/** Files per format. */
const RUNS = long ? 1_000_000 : full ? 20_000 : 1000;
const checks: Readonly<Record<string, (bytes: Bytes) => unknown>> = {
  png: decodeOwn,
  gif: decodeOwn,
  bmp: decodeOwn,
  jpg: async (bytes) => {
    const { checkScans } = await prepareJpeg(bytes, 'file');
    if (await checkScans()) await endOfBlocks(bytes);
  },
  webp: (bytes) => plainWebp(bytes, 'file'),
  avif: (bytes) => plainAvif(bytes, 'file'),
};

async function decodeOwn(bytes: Bytes): Promise<void> {
  const header = readImageHeader(bytes)!;
  const { image } = await decodeFile(bytes, 'file', '', { losesAlpha: () => Promise.resolve(true) });
  expect(image).toMatchObject({ width: header.width, height: header.height });
  expect('data' in image && image.data.length).toBe(header.width * header.height * 4);
}

/** Pixels that a mutated file of some kilobytes may have here: more would spend the time on filling memory. */
const MOST_PIXELS = 2 ** 20;

test.each(Object.entries(checks))(
  `${RUNS} files: %s`,
  { timeout: 60_000 + RUNS * 20 },
  async (ending, check) => {
    /** Reads a file. Returns 'read', 'large', or the code and the message of the error. */
    const judge = async (bytes: Bytes): Promise<string> => {
      try {
        const header = readImageHeader(bytes);
        expect(decodedBytes(header)).toBeGreaterThanOrEqual(0);
        const pixels = (header?.width ?? 0) * (header?.height ?? 0);
        // Larger images are left to the limit of pixels, which png.test.ts tests.
        if (check === decodeOwn && !(pixels > 0 && pixels <= MOST_PIXELS)) return 'large';
        await check(bytes);
        return 'read';
      } catch (error) {
        if (error instanceof ImageError) return `${error.code}: ${error.message}`;
        throw error;
      }
    };
    const corpus = new Corpus(ending);
    await corpus.replay(judge);
    const files = mutatedFiles(ending, 20);
    const codes = new Map<string, number>();
    for (let run = 0; run < RUNS; run++) {
      const bytes = files.next().value;
      const begin = process.cpuUsage(); // on a busy machine, a process waits for the CPU for seconds
      let outcome: string;
      try {
        outcome = await judge(bytes);
      } catch (error) {
        throw new Error(`${String(error)}, from ${corpus.keepFailed(bytes)}`, { cause: error });
      }
      const { user, system } = process.cpuUsage(begin);
      const ms = (user + system) / 1000;
      if (ms > 2000)
        throw new Error(`${ms} ms of CPU time for ${bytes.length} bytes: ${corpus.keepFailed(bytes)}`);
      corpus.note(bytes, outcome);
      const code = codeOf(outcome);
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    corpus.write();
    // Both outcomes must occur, else the mutations are too weak or too strong.
    expect(codes.get('read') ?? 0).toBeGreaterThan(RUNS / 50);
    if (ending !== 'avif') expect(codes.get('IMAGE_DECODE') ?? 0).toBeGreaterThan(RUNS / 10);
  },
);
