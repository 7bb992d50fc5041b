import { describe, expect, test } from 'vitest';
import { chooseMerges } from '../../../src/search/store/compaction.ts';
import { decodeContents, encodeContents, type Contents } from '../../../src/search/store/contents.ts';
import { crc32c } from '../../../src/search/store/crc32c.ts';
import { headerText, parseHeader, Seals, type SegmentRow } from '../../../src/search/store/rows.ts';
import { SEGMENT_BYTES, Packer, SegmentFiles } from '../../../src/search/store/segments.ts';
import { Random } from '../../random.ts';
import { header } from './items.ts';
import { applyTo, isPart, isSame, operations, operationsUntil } from './operations.ts';

describe('crc32c', () => {
  // Expected values from RFC 3720, B.4, and the check value of the CRC catalogue.
  test.each<[string, Uint8Array, number]>([
    ['nothing', new Uint8Array(), 0],
    ['123456789', new TextEncoder().encode('123456789'), 0xe3069283],
    ['32 zeros', new Uint8Array(32), 0x8a9136aa],
    ['32 ones', new Uint8Array(32).fill(0xff), 0x62a8ab43],
    ['0 to 31', Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    ['31 to 0', Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113fdb5c],
  ])('%s', (_, bytes, expected) => expect(crc32c(bytes)).toBe(expected));

  test('in two parts equals in one, at every length', () => {
    const random = new Random(3);
    for (let length = 0; length < 70; length++) {
      const bytes = Uint8Array.from({ length }, () => random.integer(0, 255));
      const at = random.integer(0, length);
      expect(crc32c(bytes.subarray(at), crc32c(bytes.subarray(0, at)))).toBe(crc32c(bytes));
    }
  });
});

describe('row checksums', () => {
  test('rows of one index are not valid in another', () => {
    const item = {
      sequence: 1,
      id: 'a',
      segment: 's',
      offset: 0,
      vectorBytes: 4,
      patches: undefined,
      checksum: 5,
      metadata: '1',
      thumbnail: undefined,
    };
    const [one, other] = [new Seals(headerText(header)), new Seals(headerText({ ...header, dim: 17 }))];
    expect(one.isItem(one.item(item))).toBe(true);
    expect(other.isItem(one.item(item))).toBe(false);
    expect(one.isItem({ ...one.item(item), id: 'b' })).toBe(false);
  });

  test('the text of a header does not depend on the order of its fields', () => {
    const { model, ...rest } = header;
    expect(headerText({ model, ...rest })).toBe(headerText(header));
    expect(parseHeader(headerText(header))).toEqual(header);
    expect(parseHeader(headerText({ ...header, model: undefined }))).toEqual({ ...header, model: undefined });
  });
});

describe('segments', () => {
  test('records are packed one after another, into files of at most 16 MiB unless one record is larger', () => {
    const packer = new Packer(0);
    const large = new Uint8Array(SEGMENT_BYTES + 1);
    expect(packer.add(1, [new Uint8Array(10), new Uint8Array(5)]).offset).toBe(0);
    expect(packer.add(2, [new Uint8Array(1)])).toEqual({ segment: packer.segments[0]!.name, offset: 15 });
    expect(packer.add(3, [large]).offset).toBe(0);
    expect(packer.add(4, [new Uint8Array(1)]).offset).toBe(0);
    expect(packer.segments.map(({ bytes, items, first, last }) => ({ bytes, items, first, last }))).toEqual([
      { bytes: 16, items: 2, first: 1, last: 2 },
      { bytes: SEGMENT_BYTES + 1, items: 1, first: 3, last: 3 },
      { bytes: 1, items: 1, first: 4, last: 4 },
    ]);
    expect(new Set(packer.segments.map(({ name }) => name)).size).toBe(3);
  });

  test('read files are cached, up to a limit', async () => {
    let reads = 0;
    const files = new SegmentFiles('x', {
      read: async () => (reads++, new Blob([new Uint8Array(SEGMENT_BYTES)])),
      names: async () => [],
      write: async () => undefined,
      remove: async () => undefined,
    });
    for (const name of ['a', 'b', 'a', 'c', 'd', 'a']) await files.read(name);
    expect(reads).toBe(4);
    await files.read('e'); // evicts b, the least recently used
    await files.read('a');
    expect(reads).toBe(5);
    await files.read('b');
    expect(reads).toBe(6);
  });
});

describe('the contents record at the end of a segment', () => {
  const contents: Contents = {
    header: headerText(header),
    settled: 4,
    commit: 'token',
    parts: 1,
    items: [],
    removals: [{ sequence: 5, id: 'b', seal: 1 }],
  };

  test('is decoded, also after other bytes', () => {
    const end = encodeContents(contents);
    const whole = new Uint8Array([...new Uint8Array(100).fill(7), ...end]);
    expect(decodeContents(whole)).toEqual(contents);
    expect(decodeContents(end)).toEqual(contents);
  });

  test('is detected as damaged after any flipped bit or truncation', () => {
    const end = encodeContents(contents);
    for (let bit = 0; bit < end.length * 8; bit++) {
      const flipped = end.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      expect(decodeContents(flipped)).toBeUndefined();
    }
    for (let length = 0; length < end.length; length++)
      expect(decodeContents(end.slice(0, length))).toBeUndefined();
  });
});

describe('choosing files to merge', () => {
  const row = (name: number, bytes: number, liveBytes = bytes): SegmentRow => ({
    name: String(name).padStart(4, '0'),
    bytes,
    liveBytes,
    size: bytes,
    removals: 0,
    items: 1,
    first: name,
    last: name,
    seal: 0,
  });
  const names = (groups: SegmentRow[][]): string[][] => groups.map((group) => group.map(({ name }) => name));
  const small = Array.from({ length: 16 }, (_, i) => row(i, 1000));

  test('sixteen files of similar size are merged', () => {
    expect(chooseMerges(small.slice(1), false)).toEqual([]);
    expect(names(chooseMerges([...small, row(99, 10 ** 6)], false))).toEqual([small.map(({ name }) => name)]);
  });

  test('a file that is mostly unused is merged', () => {
    expect(chooseMerges([row(1, 1000, 500)], false)).toEqual([]);
    expect(names(chooseMerges([row(1, 1000, 499), row(2, 1000)], false))).toEqual([['0001']]);
  });

  test('on request, everything except large files in use is merged, in groups of 16 MiB', () => {
    const half = SEGMENT_BYTES / 2;
    expect(
      names(
        chooseMerges(
          [
            row(1, 1000),
            row(2, SEGMENT_BYTES),
            row(3, SEGMENT_BYTES, half + 1),
            row(4, half - 1000),
            row(5, half - 1),
          ],
          true,
        ),
      ),
    ).toEqual([
      ['0001', '0003'],
      ['0004', '0005'],
    ]);
    expect(chooseMerges([row(1, 1000)], true)).toEqual([]);
    expect(chooseMerges([], true)).toEqual([]);
  });

  test('each record of a small index is copied only a few times', () => {
    let files: SegmentRow[] = [];
    let copied = 0;
    const ADDS = 20_000;
    for (let i = 0; i < ADDS; i++) {
      files.push(row(i, 768));
      if (i % 8 !== 7) continue;
      for (const group of chooseMerges(files, false)) {
        const bytes = group.reduce((sum, { liveBytes }) => sum + liveBytes, 0);
        copied += bytes;
        files = [...files.filter((file) => !group.includes(file)), row(i, bytes)];
      }
    }
    expect(copied / (ADDS * 768)).toBeLessThan(4);
    console.log(
      `${ADDS} single adds: each record copied ${(copied / (ADDS * 768)).toFixed(1)} times, ${files.length} files at the end`,
    );
    expect(files.length).toBeLessThan(64);
  });
});

describe('the operations of the kill tests', () => {
  test('operationsUntil recognizes reachable states only', () => {
    const state: Record<string, number> = {};
    const all = operations(5, {});
    for (let i = 0; i < 30; i++) applyTo(state, all.next().value!);
    expect(operationsUntil(5, {}, 28, isSame(state))).toBe(30);
    expect(operationsUntil(5, {}, 31, isSame(state))).toBeUndefined();
    const [some] = Object.keys(state);
    expect(operationsUntil(5, {}, 28, isSame({ ...state, [some!]: 99 }))).toBeUndefined();
    const { [some!]: _, ...less } = state;
    expect(operationsUntil(5, {}, 28, isSame(less))).toBeUndefined();
    expect(operationsUntil(5, {}, 28, isPart(less))).toBeLessThanOrEqual(30);
    expect(operationsUntil(5, {}, 28, isPart({ ...less, [some!]: 99 }))).toBeUndefined();
  });
});
