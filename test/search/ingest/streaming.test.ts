// Ingests with a model that reads files as a stream: order, progress per image, back-pressure, pauses,
// undecodable formats, and files whose names are already in the index.
import { describe, expect, test, vi } from 'vitest';
import { DeviceError, ImageError } from '../../../src/errors.js';
import { EmbeddingIndex, ingest, originalOf, type IngestProgress } from '../../../src/search.js';
import type { EmbedFilesOptions, IngestResult } from '../../../src/search/ingest/target.js';
import { embedInBatches } from '../../../src/tasks/embedAll.js';
import { DIM, FakeFile, FakeFolder, FakeModel, file, vectorOf } from './fakes.js';

vi.stubGlobal('structuredClone', (value: unknown) => value);

const make = () => new EmbeddingIndex({ dim: DIM, storage: 'f32', device: 'cpu' });
const pause = (ms = 0): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const names = (count: number): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`${String(i).padStart(4, '0')}.jpg`, `${i}`]));

/**
 * Yields one image after another. A text that begins with `broken` cannot be decoded; `huge` is too large.
 */
class StreamingModel extends FakeModel {
  pulled = 0;
  given = 0;
  readonly reads = new Map<string, number>();
  options: EmbedFilesOptions | undefined;

  async *embedAll(
    images: AsyncIterable<Blob>,
    options: EmbedFilesOptions,
  ): AsyncGenerator<IngestResult, void, undefined> {
    this.options = options;
    let index = 0;
    for await (const image of images) {
      this.pulled += 1;
      const text = await image.text();
      this.reads.set(text, (this.reads.get(text) ?? 0) + 1);
      await this.before([text]);
      options.signal?.throwIfAborted();
      if (text.startsWith('huge')) throw new DeviceError('DEVICE_LIMIT', `${text}: too large.`);
      yield text.startsWith('broken') || text.includes('ftyp')
        ? { index: index++, error: new ImageError('IMAGE_DECODE', `${text}: expected an image.`) }
        : {
            index: index++,
            embedding: Float32Array.from(vectorOf(text)),
            thumbnail: { blob: new Blob([`small ${text}`]), width: 40, height: 30 },
          };
      this.given += 1;
    }
  }
}

/** Requests the next images while it computes, as DINOv2 does. */
class AheadModel extends StreamingModel {
  override async *embedAll(
    images: AsyncIterable<Blob>,
    { signal }: EmbedFilesOptions,
  ): AsyncGenerator<IngestResult, void, undefined> {
    const steps = {
      prepare: (image: Blob) => image.text(),
      compute: async (texts: readonly string[]) => {
        if (texts.includes('huge')) throw new DeviceError('DEVICE_LIMIT', 'too large.');
        return texts.map((text) => ({ embedding: Float32Array.from(vectorOf(text)) }));
      },
      release: () => undefined,
      isStable: () => true,
    };
    yield* embedInBatches(images, steps, 2, signal);
  }
}

/** A HEIC photograph as iPhones write it: an ISO media file with this brand. */
const heic = (name: string, brand = 'heic'): File =>
  new File([`\0\0\0\x18ftyp${brand}\0\0\0\0mif1heic`], name);

test('files are processed in order and read once; thumbnails and sizes are stored', async () => {
  const model = new StreamingModel();
  const index = make();
  const { added } = await ingest(index, model, new FakeFolder('F', names(30)).handle).finished;
  expect(added).toBe(30);
  expect(index.ids()).toEqual(Object.keys(names(30)).map((name) => `F/${name}`));
  expect([...model.reads.values()].every((reads) => reads === 1)).toBe(true);
  expect(await (await index.thumbnail('F/0007.jpg'))!.text()).toBe('small 7');
  expect(index.metadata('F/0007.jpg')).toMatchObject({ file: { width: 40, height: 30 } });
  expect(model.options).toMatchObject({ normalize: false, patches: false, thumbnailPx: 256, batchSize: 8 });
  expect(model.asked).toEqual([]); // no batch was requested
});

test('all files are counted before the first image is done, and progress increases image by image', async () => {
  const model = new StreamingModel();
  const told: IngestProgress[] = [];
  let counted: number | undefined;
  const run = ingest(make(), model, new FakeFolder('F', names(24)).handle, {
    onProgress: (progress) => void told.push(progress),
  });
  model.before = async () => {
    await pause(120);
    counted ??= run.progress.images;
    // The caller is told the whole count while the first image is computed, although nothing has been added.
    if (run.progress.added === 0)
      await vi.waitFor(() => expect(told.at(-1)).toMatchObject({ images: 24, walking: false, added: 0 }));
  };
  await run.finished;
  expect(counted).toBe(24);
  const done = told.map(({ added }) => added);
  for (let i = 1; i < done.length; i++) expect(done[i]! - done[i - 1]!).toBeLessThanOrEqual(2);
  expect(new Set(done).size).toBeGreaterThan(18);
});

test('counting does not open files', async () => {
  let opened = 0;
  const tree = Object.fromEntries(
    Array.from({ length: 50 }, (_, i) => [`${i}.jpg`, () => (opened++, file(`${i}.jpg`, `${i}`))]),
  );
  const slow = new StreamingModel();
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  const fingerprint = async (): Promise<string> => (await held, 'f');
  const index = new EmbeddingIndex({
    dim: DIM,
    storage: 'f32',
    device: 'cpu',
    model: await (await import('../../../src/search.js')).modelIdentity(slow),
  });
  const run = ingest(index, Object.assign(slow, { fingerprint }), new FakeFolder('F', tree).handle);
  await vi.waitFor(() => expect(run.progress).toMatchObject({ images: 50, walking: false }));
  expect(opened).toBe(0);
  release();
  expect((await run.finished).added).toBe(50);
});

test('a slow store makes the model wait', async () => {
  const model = new StreamingModel();
  const index = make();
  const { addMany } = index;
  let committed = 0;
  let most = 0;
  index.addMany = async (items) => {
    const all = [...items];
    await pause(3);
    most = Math.max(most, model.given - committed);
    await addMany.call(index, all);
    committed += all.length;
  };
  await ingest(index, model, new FakeFolder('F', names(300)).handle, { batchSize: 2 }).finished;
  expect(index.size).toBe(300);
  expect(most).toBeLessThanOrEqual(2 * 4 * 2 + 1); // items being committed, and items waiting
});

test('a pause reads no further file, keeps the images in progress, and can be resumed', async () => {
  const model = new StreamingModel();
  const index = make();
  const run = ingest(index, model, new FakeFolder('F', names(40)).handle);
  model.before = () => {
    if (model.pulled === 10) run.pause();
  };
  await vi.waitFor(() => expect([run.progress.phase, index.size]).toEqual(['paused', 10]));
  await pause(30);
  expect(model.pulled).toBe(10);
  run.resume();
  expect((await run.finished).added).toBe(40);
});

test('an abort, a lost device and a failed commit end the ingest', async () => {
  const folder = new FakeFolder('F', names(40));
  const aborted = new StreamingModel();
  const run = ingest(make(), aborted, folder.handle);
  aborted.before = () => {
    if (aborted.pulled === 10) run.abort(new Error('enough'));
  };
  await expect(run.finished).rejects.toThrow('enough');
  expect(run.progress.phase).toBe('aborted');

  const lost = new StreamingModel();
  lost.before = () => {
    if (lost.pulled === 10) throw new DeviceError('DEVICE_LOST', 'gone');
  };
  const index = make();
  const other = ingest(index, lost, folder.handle);
  await expect(other.finished).rejects.toMatchObject({ code: 'DEVICE_LOST' });
  expect([other.progress.phase, index.size]).toEqual(['failed', 9]);

  const full = make();
  full.addMany = () => Promise.reject(new Error('the disk is full'));
  await expect(ingest(full, new StreamingModel(), folder.handle).finished).rejects.toThrow(
    'the disk is full',
  );
});

test('an image too large for the GPU is listed as failed, and the other images are added', async () => {
  const model = new StreamingModel();
  const featuresBySize = model.featuresBySize.bind(model);
  model.featuresBySize = async (images, options) => {
    if ((await images[0]!.text()).startsWith('huge'))
      throw new DeviceError('DEVICE_LIMIT', 'needs a buffer of 9 GB');
    return featuresBySize(images, options);
  };
  const index = make();
  const folder = new FakeFolder('F', { 'a.jpg': 'aa', 'b.jpg': 'huge b', 'c.jpg': 'cc', 'd.jpg': 'dd' });
  const { added, failures } = await ingest(index, model, folder.handle).finished;
  expect(added).toBe(3);
  expect(failures.map(({ id, error }) => [id, (error as DeviceError).code])).toEqual([
    ['F/b.jpg', 'DEVICE_LIMIT'],
  ]);
});

test('files of an undecodable format share one failure', async () => {
  const files = [
    heic('1.heic'),
    file('2.jpg', 'bb'),
    heic('3.HEIC'),
    file('4.jpg', 'broken four'),
    heic('5.heif', 'mif1'),
    file('6.tif', 'II*\0ftyp'),
  ];
  for (const model of [new StreamingModel(), brokenAt('ftyp')]) {
    const { added, failed, failures } = await ingest(make(), model, files, { batchSize: 2 }).finished;
    expect({ added, failed }).toEqual({ added: 1, failed: 5 });
    expect(failures.map(({ id, ids }) => [id, ids])).toEqual([
      ['1.heic', ['1.heic', '3.HEIC', '5.heif']],
      ['4.jpg', undefined],
      ['6.tif', undefined],
    ]);
    expect(failures[0]!.error).toBeInstanceOf(ImageError);
    expect(failures[0]!.error.message).toMatch(
      /^3 files, the first of them 1\.heic: .* an HEIC photograph \(an iPhone format\)\. Convert it to JPEG first/,
    );
  }
});

/** A model without a stream that cannot decode texts containing `part`. */
function brokenAt(part: string): FakeModel {
  const model = new FakeModel();
  model.before = (texts) => {
    if (texts.some((text) => text.includes(part))) throw new ImageError('IMAGE_DECODE', 'expected an image.');
  };
  return model;
}

describe.each([
  ['a stream', () => new StreamingModel()],
  ['batches', () => new FakeModel()],
])('a file whose name is already in the index, with %s', (_, model) => {
  const [first, second] = [file('IMG_0001.JPG', 'one', 1000), file('IMG_0001.JPG', 'another', 2000)];

  test('another file without a folder is refused, and the first file stays', async () => {
    const index = make();
    await ingest(index, model(), [first]).finished;
    const before = [...index.vector('IMG_0001.JPG')];
    const { added, updated, failed, failures } = await ingest(index, model(), [second]).finished;
    expect({ added, updated, failed }).toEqual({ added: 0, updated: 0, failed: 1 });
    expect(failures[0]).toMatchObject({
      id: 'IMG_0001.JPG',
      error: { code: 'INDEX_DUPLICATE_ID', message: expect.stringMatching(/under: 'a name'.*under: ''/) },
    });
    expect([...index.vector('IMG_0001.JPG')]).toEqual(before);
    expect((await ingest(index, model(), [first]).finished).unchanged).toBe(1);
  });

  test('with a name in `under` both files are kept; with an empty `under` the second replaces the first', async () => {
    const index = make();
    await ingest(index, model(), [first]).finished;
    expect((await ingest(index, model(), [second], { under: 'phone' }).finished).added).toBe(1);
    expect(index.ids()).toEqual(['IMG_0001.JPG', 'phone/IMG_0001.JPG']);
    expect((await ingest(index, model(), [second], { under: '' }).finished).updated).toBe(1);
  });

  test('a file that changed in its folder or behind its handle is computed again', async () => {
    const index = make();
    const folder = new FakeFolder('F', { 'a.jpg': 'aa' });
    await ingest(index, model(), folder.handle).finished;
    (folder.children.get('a.jpg') as FakeFile).content = () => file('a.jpg', 'changed', 2000);
    expect((await ingest(index, model(), folder.handle).finished).updated).toBe(1);

    const handle = new FakeFile('IMG_0001.JPG', () => first);
    const sourceOf = (fake: FakeFile): FileSystemHandle => fake as object as FileSystemHandle;
    await ingest(index, model(), sourceOf(handle)).finished;
    handle.content = () => file('IMG_0001.JPG', 'changed', 3000);
    expect((await ingest(index, model(), sourceOf(handle)).finished).updated).toBe(1);
    const other = new FakeFile('IMG_0001.JPG', () => second);
    expect((await ingest(index, model(), sourceOf(other)).finished).failed).toBe(1);
    expect(await (await originalOf(index, 'IMG_0001.JPG'))!.text()).toBe('changed'); // not the other file
    expect((await ingest(index, model(), [second]).finished).failed).toBe(1);
  });
});

test('an image that is too large in a batch does not fail images that are still being opened', async () => {
  const children = names(12);
  children['0003.jpg'] = 'huge';
  const folder = new FakeFolder('F', children);
  for (const child of folder.children.values()) {
    const { content } = child as FakeFile;
    Object.assign(child, { getFile: () => pause(30).then(() => content()) });
  }
  const { added, failed, images } = await ingest(make(), new AheadModel(), folder.handle).finished;
  expect({ added, failed, images }).toEqual({ added: 12, failed: 0, images: 12 }); // alone, the large image fits
});

test('two ingests at the same time do not overwrite photographs with the same name', async () => {
  const index = make();
  const reports = await Promise.all(
    ['apple', 'zebra'].map(
      (text, i) => ingest(index, new StreamingModel(), [file('IMG_0001.JPG', text, i)]).finished,
    ),
  );
  expect(reports.map(({ added, updated }) => added + updated).sort()).toEqual([0, 1]);
  expect(reports.flatMap(({ failures }) => failures)).toMatchObject([
    { id: 'IMG_0001.JPG', error: { code: 'INDEX_DUPLICATE_ID' } },
  ]);
});

test('an abort ends the ingest of a folder whose listing never completes', async () => {
  const folder = new FakeFolder('F', {});
  Object.assign(folder.handle, {
    entries: () => ({
      next: () => new Promise(() => undefined),
      [Symbol.asyncIterator]() {
        return this;
      },
    }),
  });
  const run = ingest(make(), new StreamingModel(), folder.handle);
  await pause(10);
  run.abort('enough');
  await expect(run.finished).rejects.toBe('enough');
});
