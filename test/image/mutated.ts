/**
 * Mutated image files, the same for the same seed. The blocks of a valid file are removed, repeated, exchanged and
 * cut; numbers in them become 0, 1, the largest or another block's length. In half of the PNG files the checksums
 * are made right again, so that the readers reach the faults behind them.
 */
import { readdirSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { Random } from '../random.ts';
import { read } from './files.ts';

export type Bytes = Uint8Array<ArrayBuffer>;

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

/** Where the blocks of each format begin. */
const cuts: Readonly<Record<string, Cut>> = {
  png: cutsBy(8, (view, at) => at + 12 + view.getUint32(at)),
  gif: () => [6, 13, 781],
  bmp: () => [14, 18, 26, 30, 54],
  jpg: cutsBy(2, (view, at) => at + 2 + view.getUint16(at + 2)),
  webp: cutsBy(12, (view, at) => at + 8 + view.getUint32(at + 4, true)),
  avif: cutsBy(0, (view, at) => at + Math.max(8, view.getUint32(at))),
};

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

/** Corrects the checksums of the chunks of a PNG, in place. */
function withChecksums(bytes: Bytes): Bytes {
  const view = new DataView(bytes.buffer);
  for (let at = 8; at + 12 <= bytes.length;) {
    const end = at + 8 + view.getUint32(at);
    if (end + 4 > bytes.length) break;
    view.setUint32(end, crc32(bytes.subarray(at + 4, end)));
    at = end + 4;
  }
  return bytes;
}

/** Yields mutated files of a format without end. */
export function* mutatedFiles(ending: string, seed: number): Generator<Bytes, never> {
  const random = new Random(seed);
  const files = seeds(`.${ending}`).map((file) => [file, cuts[ending]!(file)] as const);
  if (files.length === 0) throw new Error(`no files of the format ${ending} in ${FOLDER}`);
  for (;;) {
    const bytes = mutated(...random.pick(files), random);
    yield ending === 'png' && random.next() < 0.5 ? withChecksums(bytes) : bytes;
  }
}

/** The files whose pixels test/fixtures/mutated/pillow.json holds. */
export const ORACLE: { readonly endings: readonly string[]; readonly seed: number; readonly files: number } =
  {
    endings: ['png', 'gif', 'bmp'],
    seed: 1995,
    files: 1500,
  };
