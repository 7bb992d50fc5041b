// An entry of the cache: what was written comes back, and no byte of any of its files can be another without
// being noticed.
import { beforeEach, describe, expect, test, vi } from 'vitest';
import {
  CACHE_FORMAT,
  CacheWriter,
  NOTHING,
  readPlan,
  replay,
  tidy,
  writePlan,
  type CachePlan,
  type EntryEnd,
  type Replayed,
} from '../../src/cache/cacheEntry.ts';
import type { CacheFolder } from '../../src/storage/store.ts';

type Files = Map<string, Uint8Array<ArrayBuffer>>;

const bytesOf = async (blob: Blob): Promise<Uint8Array<ArrayBuffer>> =>
  new Uint8Array(await blob.arrayBuffer());

const folderOf = (files: Files): CacheFolder => ({
  names: async () => [...files.keys()],
  read: async (name) => (files.has(name) ? new Blob([files.get(name)!]) : undefined),
  write: async (name, data) => void files.set(name, await bytesOf(data)),
  remove: async (name) => void files.delete(name),
});

const SOURCE_STEP = 2 ** 20;
const wanted = Uint8Array.from({ length: 240 }, (_, i) => i + 1);
const head = Uint8Array.from({ length: 32 }, (_, i) => 255 - i);
const plan: CachePlan = {
  format: CACHE_FORMAT,
  id: 'a/b',
  folder: 'https://example.org/',
  dtype: 'fp32',
  config: '{"layer_norm_eps": 1e-06}',
  preprocessor: null,
  files: [
    {
      url: 'https://example.org/model.safetensors',
      fileBytes: 8 * SOURCE_STEP,
      validator: '"one"',
      header: {
        tensors: new Map(),
        metadata: new Map([['__proto__', 'x']]),
        dataBegin: 8,
        fileBytes: 8 * SOURCE_STEP,
      },
    },
  ],
  integrity: {},
  present: ['w'],
  head: {
    numClasses: 2,
    inFeatures: 3,
    module: 'classifier',
    names: ['classifier.weight', 'classifier.bias'],
  },
  packedBytes: wanted.length + head.length,
};

/** Writes the values from `at` on, cut into segments of these lengths; what is committed has all of them. */
async function write(files: Files, cuts: readonly number[], end: EntryEnd, at = 0): Promise<CacheWriter> {
  let position = at;
  const writer = new CacheWriter(
    'opfs',
    folderOf(files),
    plan,
    () => ({ file: 0, position, hash: undefined }),
    end,
  );
  if (at === 0) writer.write('head.weight', 0, head);
  let { segments } = end;
  for (const length of cuts) {
    writer.write('w', at, wanted.subarray(at, at + length));
    at += length;
    position += SOURCE_STEP;
    await writer.mark(true);
    const name = String(segments++);
    await vi.waitFor(() => expect(files.has(name)).toBe(true), { interval: 1, timeout: 30_000 });
    await new Promise((resolve) => setTimeout(resolve));
  }
  return writer;
}

const read = async (files: Files): Promise<(Replayed & { values: Uint8Array }) | undefined> => {
  const folder = folderOf(files);
  const known = await readPlan(folder);
  if (!known) return undefined;
  const values = new Uint8Array(wanted.length);
  const found = await replay(
    folder,
    known,
    (name, offset, bytes) => (name === 'w' ? values.set(bytes, offset) : undefined),
    () => undefined,
    undefined,
  );
  return { ...found, values };
};

const flipped = (files: Files, name: string, at: number, mask: number): Files => {
  const bytes = files.get(name)!.slice();
  bytes[at]! ^= mask;
  return new Map([...files, [name, bytes]]);
};

let files: Files;
beforeEach(async () => {
  files = new Map();
  const seal = await writePlan(folderOf(files), plan);
  const writer = await write(files, [80, 80, 80], { ...NOTHING, seal });
  await writer.finish();
  expect(writer.failure).toBeUndefined();
});

test('what was written comes back, with the plan', async () => {
  expect([...files.keys()]).toEqual(['plan', '0', '1', '2', '3', 'complete']);
  expect(await read(files)).toMatchObject({ complete: true, segments: 4, packedBytes: 272, values: wanted });
  expect((await readPlan(folderOf(files)))!.plan).toEqual(plan);
});

describe('damage', () => {
  test('no byte of the plan can be another', async () => {
    for (let at = 0; at < files.get('plan')!.length; at++)
      for (const mask of [1, 4, 128])
        expect(await readPlan(folderOf(flipped(files, 'plan', at, mask))), `byte ${at}`).toBeUndefined();
  });

  test('no byte of `complete` can be another, and it cannot be shorter or longer', async () => {
    const complete = files.get('complete')!;
    const damaged = Array.from(complete, (_, at) =>
      [1, 4, 128].map((mask) => flipped(files, 'complete', at, mask)),
    ).flat();
    for (const length of [0, 1, complete.length - 1, complete.length + 1]) {
      const other = new Uint8Array(length);
      other.set(complete.subarray(0, length));
      damaged.push(new Map([...files, ['complete', other]]));
    }
    damaged.push(new Map([...files, ['complete', new TextEncoder().encode('{"segments":2}')]]));
    for (const each of damaged) expect(await read(each)).toMatchObject({ complete: false, segments: 4 });
  });

  test('no byte of a segment can be another', async () => {
    const { length } = files.get('1')!;
    for (let at = 0; at < length; at++)
      expect(await read(flipped(files, '1', at, 2)), `byte ${at}`).toMatchObject({
        complete: false,
        segments: 1,
        packedBytes: 112,
      });
  });

  test('no segment can be missing, or stand for another', async () => {
    for (const name of ['0', '1', '2', '3']) {
      const without = new Map(files);
      without.delete(name);
      expect(await read(without)).toMatchObject({ complete: false, segments: Number(name) });
      for (const other of ['0', '1', '2', '3']) {
        if (other !== name)
          expect(await read(new Map([...files, [name, files.get(other)!]]))).toMatchObject({
            complete: false,
            segments: Number(name),
          });
      }
    }
  });

  test('segments of another plan are not read', async () => {
    const other: Files = new Map();
    await writePlan(folderOf(other), { ...plan, id: 'c/d' });
    expect(await read(new Map([...files, ['plan', other.get('plan')!]]))).toMatchObject({
      complete: false,
      place: undefined,
      segments: 0,
    });
  });

  test('what cannot be read is not there', async () => {
    const broken = (bad: string): CacheFolder => ({
      ...folderOf(files),
      read: (name) =>
        name === bad
          ? Promise.reject(new DOMException('broken', 'NotReadableError'))
          : folderOf(files).read(name),
    });
    expect(await readPlan(broken('plan'))).toBeUndefined();
    const known = (await readPlan(broken('complete')))!;
    expect(known.complete).toBe(false);
    expect(
      await replay(
        broken('complete'),
        known,
        () => undefined,
        () => undefined,
        undefined,
      ),
    ).toMatchObject({ complete: false, segments: 4 });
  });
});

test('a stale segment that could not be removed is not put behind others, cut elsewhere', async () => {
  files.set('1', new Uint8Array(3)); // damaged: all from there on is written again
  const found = (await read(files))!;
  expect(found).toMatchObject({ complete: false, segments: 1 });
  const stuck: CacheFolder = {
    ...folderOf(files),
    remove: () => Promise.reject(new DOMException('in use', 'NoModificationAllowedError')),
  };
  await expect(tidy(stuck, found.segments)).rejects.toThrow('in use');
  await write(files, [100], found, 80); // and killed: 2, 3 and `complete` are of the cut before, which leaves out nothing from 160 on
  expect(await read(files)).toMatchObject({ complete: false, segments: 2, packedBytes: 212 });
});

test('a plan is not committed with less than it says', async () => {
  const short: Files = new Map();
  const seal = await writePlan(folderOf(short), plan);
  const writer = await write(short, [80, 80], { ...NOTHING, seal });
  await writer.finish();
  expect(writer.failure).toMatchObject({ message: 'expected 272 bytes, found 192' });
  expect(short.size).toBe(0);
});
