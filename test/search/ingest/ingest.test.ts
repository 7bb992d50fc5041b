/**
 * Ingests of files and folders into an index: selection, skipping, failures, pausing, aborting and resuming.
 */
import { describe, expect, test, vi } from 'vitest';
import { DeviceError } from '../../../src/errors.js';
import { DEFAULT_PREPROCESSING } from '../../../src/image/preprocessing.js';
import { full } from '../../full.js';
import {
  DroppedFiles,
  EmbeddingIndex,
  askAgain,
  describeImage,
  foldersOf,
  forgetIngest,
  ingest,
  modelIdentity,
  originalOf,
  unfinishedIngest,
  type FileMetadata,
  type IngestOptions,
  type IngestProgress,
} from '../../../src/search.js';
import { DIM, FakeFile, FakeFolder, FakeModel, file, vectorOf } from './fakes.js';

// The store clones folder handles with structuredClone, which cannot clone these fake handles. The stub
// returns them unchanged.
vi.stubGlobal('structuredClone', (value: unknown) => value);

const make = (patches: 'none' | 'f16' = 'none') =>
  new EmbeddingIndex({ dim: DIM, storage: 'f32', patches, device: 'cpu' });
const model = new FakeModel();
const names = (count: number): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`${String(i).padStart(4, '0')}.jpg`, `${i}`]));
const about = (index: EmbeddingIndex, id: string): FileMetadata =>
  (index.metadata(id) as { file: FileMetadata }).file;

test("a model or preprocessing other than the index's is refused before anything is added", async () => {
  const look = { resize: 'fit', longestSide: 224 } as const;
  const index = new EmbeddingIndex({
    dim: DIM,
    storage: 'f32',
    device: 'cpu',
    model: await modelIdentity(model, look),
  });
  const files = [file('a.jpg', 'aa')];
  const other = Object.assign(new FakeModel(), { print: 'g' });
  await expect(ingest(index, other, files, look).finished).rejects.toMatchObject({ code: 'INDEX_MODEL' });
  await expect(ingest(index, model, files).finished).rejects.toMatchObject({ code: 'INDEX_MODEL' });
  await expect(ingest(index, model, files, { ...look, pooling: 'mean' }).finished).rejects.toMatchObject({
    code: 'INDEX_MODEL',
  });
  expect(index.size).toBe(0);
  await ingest(index, model, files, {
    ...look,
    pooling: 'cls',
    batchSize: 2,
    removeMissing: true,
    signal: new AbortController().signal,
  }).finished;
  expect(index.size).toBe(1);
});

describe('the selection of files', () => {
  test('images of a folder and its subfolders, with their paths as ids, in the order of names', async () => {
    const index = make();
    const folder = new FakeFolder('Holiday', {
      'b.JPG': 'bb',
      'a.png': 'aa',
      sea: { 'c.webp': 'cc', 'notes.txt': 'none' },
      '.hidden': { 'd.jpg': 'dd' },
      '._b.JPG': 'x',
      'Thumbs.db': 'x',
    });
    const { phase, images, added, ignored, failures } = await ingest(index, model, folder.handle).finished;
    expect(index.ids()).toEqual(['Holiday/a.png', 'Holiday/b.JPG', 'Holiday/sea/c.webp']);
    expect({ phase, images, added, ignored, failures }).toEqual({
      phase: 'done',
      images: 3,
      added: 3,
      ignored: 3,
      failures: [],
    });
    expect(about(index, 'Holiday/a.png')).toEqual({ size: 2, lastModified: 1000 });
    const [hit] = await index.search(vectorOf('cc'), { topK: 1 });
    expect(hit!.id).toBe('Holiday/sea/c.webp');
    expect(hit!.score).toBeCloseTo(1, 6);
  });

  test('the id of a file is its path if known, else its name; files that are no images by type or name are ignored', async () => {
    const index = make();
    const within = Object.defineProperty(file('x.jpg', 'xx'), 'webkitRelativePath', { value: 'Trip/x.jpg' });
    const { ignored } = await ingest(index, model, [
      file('y.png', 'yy'),
      within,
      file('notes.md', 'zz'),
      new File(['pp'], 'pasted', { type: 'image/png' }),
    ]).finished;
    expect(index.ids()).toEqual(['y.png', 'Trip/x.jpg', 'pasted']);
    expect(ignored).toBe(1);
  });

  test('a single file is accepted; anything but files, folders or lists of them is refused', async () => {
    const index = make();
    expect(await ingest(index, model, file('a.jpg', 'aa')).finished).toMatchObject({ images: 1, added: 1 });
    expect(index.ids()).toEqual(['a.jpg']);
    const elsewhere = {
      [Symbol.toStringTag]: 'File',
      name: 'b.jpg',
      type: '',
      size: 2,
      lastModified: 1,
      text: () => Promise.resolve('bb'),
    };
    const { images } = await ingest(index, model, [elsewhere as unknown as File]).finished; // a File of another window
    expect(images).toBe(1);
    for (const [source, found] of [
      [7, 'Number'],
      ['a.jpg', 'String'],
      [null, 'Null'],
      [undefined, 'Undefined'],
      [{}, 'Object'],
      [new Blob(['aa']), 'Blob'],
      [new Uint8Array(4), 'Uint8Array'],
      [[file('c.jpg', 'cc'), 7], 'Number'],
      [['a.jpg'], 'String'],
      [[new Blob(['aa'])], 'Blob'],
    ] as const)
      expect(() => ingest(index, model, source as unknown as File[])).toThrow(
        expect.objectContaining({
          code: 'OPTION_VALUE',
          message: expect.stringMatching(`^ingest: expected a file, .*found ${found}\\.$`) as string,
        }),
      );
    for (const none of [[], new Set<File>(), { length: 0 }])
      expect(await ingest(index, model, none).finished).toMatchObject({ phase: 'done', images: 0 });
  });

  test('the caller can add metadata', async () => {
    const index = make();
    await ingest(index, model, [file('y.png', 'yy')], {
      metadata: (id, { size }) => ({ album: id.length, size, file: 'overwritten' }),
    }).finished;
    expect(index.metadata('y.png')).toEqual({ album: 5, size: 2, file: { size: 2, lastModified: 1000 } });
  });

  test('patches come from the forward that computes the vector, also in a batch of several sizes', async () => {
    const index = make('f16');
    const counting = new FakeModel();
    await ingest(index, counting, [file('a.png', 'aa'), file('b.png', 'wide'), file('c.png', 'cc')]).finished;
    expect(counting.asked).toEqual([3]);
    expect(counting.alive).toBe(0);
    expect(index.size).toBe(3);
    const { vector, patches } = await describeImage(counting, file('b.png', 'wide'), { patches: true });
    expect([...vector]).toEqual(vectorOf('wide').map(Math.fround));
    expect({ rows: patches!.rows, cols: patches!.cols, tokens: [...patches!.tokens] }).toEqual({
      rows: 1,
      cols: 3,
      tokens: [1, 0, 0, 1, 2, 0, 0, 1, 3, 0, 0, 1],
    });
    expect((await describeImage(counting, file('a', 'aa'), { pooling: 'mean' })).vector[0]).toBe(2.5);
  });
});

describe('images that are already in the index', () => {
  test('are skipped; changed ones are computed again; missing ones are removed on request', async () => {
    const index = make();
    const folder = new FakeFolder('F', { 'a.jpg': 'aa', 'b.jpg': 'bb', 'c.jpg': 'cc' });
    await index.add('elsewhere.jpg', [1, 0, 0, 0]);
    await ingest(index, model, folder.handle).finished;
    const counting = new FakeModel();
    expect(await ingest(index, counting, folder.handle).finished).toMatchObject({
      unchanged: 3,
      added: 0,
      updated: 0,
    });
    expect(counting.asked).toEqual([]);

    (folder.children.get('b.jpg') as FakeFile).content = () => file('b.jpg', 'zz', 2000); // another date
    (folder.children.get('c.jpg') as FakeFile).content = () => file('c.jpg', 'ccc'); // another size
    folder.children.delete('a.jpg');
    expect(await ingest(index, counting, folder.handle, { removeMissing: true }).finished).toMatchObject({
      unchanged: 0,
      added: 0,
      updated: 2,
      removed: 1,
    });
    expect(index.ids().sort()).toEqual(['F/b.jpg', 'F/c.jpg', 'elsewhere.jpg']);
    expect(about(index, 'F/b.jpg').lastModified).toBe(2000);
    expect((await index.search(vectorOf('zz'), { topK: 1 }))[0]!.id).toBe('F/b.jpg');
  });

  test('are computed again if their pixels would change, and only then', async () => {
    const index = make();
    const files = [file('a.jpg', 'aa'), file('b.jpg', 'bb')];
    const half = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } as const;
    const other = Object.assign(new FakeModel(), {
      preprocessing: {
        ...DEFAULT_PREPROCESSING,
        normalization: { ...DEFAULT_PREPROCESSING.normalization, ...half },
      },
    });
    const counted = async (
      using: FakeModel,
      options: IngestOptions = {},
    ): Promise<[number, number, number]> => {
      const { added, updated, unchanged } = await ingest(index, using, files, options).finished;
      return [added, updated, unchanged];
    };
    expect(await counted(model)).toEqual([2, 0, 0]);
    expect(about(index, 'a.jpg')).toEqual({ size: 2, lastModified: 1000 }); // default preprocessing is not recorded
    const sameAsDefault = { pooling: 'cls', resample: undefined, resize: undefined } as const;
    expect(await counted(model, sameAsDefault)).toEqual([0, 0, 2]);
    expect(await counted(Object.assign(new FakeModel(), { preprocessing: DEFAULT_PREPROCESSING }))).toEqual([
      0, 0, 2,
    ]);
    expect(await counted(other)).toEqual([0, 2, 0]);
    expect(about(index, 'a.jpg').look).toMatch(/mean 0\.5,0\.5,0\.5/);
    expect(await counted(model, { normalization: half })).toEqual([0, 0, 2]); // the same pixels
    expect(await counted(other, { resize: 'fit' })).toEqual([0, 2, 0]);
    expect(await counted(other, { resize: 'fit', pooling: 'mean' })).toEqual([0, 2, 0]);
    expect(await counted(model)).toEqual([0, 2, 0]);
    expect(about(index, 'a.jpg')).toEqual({ size: 2, lastModified: 1000 });
    expect(await counted(model)).toEqual([0, 0, 2]);
  });

  test('have no recorded preprocessing if the index itself records the model', async () => {
    const normalization = { mean: [0.5, 0.5, 0.5] } as const;
    const index = new EmbeddingIndex({
      dim: DIM,
      storage: 'f32',
      device: 'cpu',
      model: await modelIdentity(model, { normalization }),
    });
    const files = [file('a.jpg', 'aa')];
    await ingest(index, model, files, { normalization }).finished;
    expect(about(index, 'a.jpg')).toEqual({ size: 2, lastModified: 1000 });
    expect(await ingest(index, model, files, { normalization }).finished).toMatchObject({ unchanged: 1 });
    await expect(ingest(index, model, files).finished).rejects.toMatchObject({ code: 'INDEX_MODEL' });
    const opened = await EmbeddingIndex.import(await index.export(), { device: 'cpu' });
    expect(opened.header.model).toEqual(index.header.model);
  });

  test('stay if their folder could not be read', async () => {
    const index = make();
    const folder = new FakeFolder('F', { 'a.jpg': 'aa', sub: { 'b.jpg': 'bb' } });
    await ingest(index, model, folder.handle).finished;
    (folder.children.get('sub') as FakeFolder).readable = false;
    const { removed, failures } = await ingest(index, model, folder.handle, { removeMissing: true }).finished;
    expect(removed).toBe(0);
    expect(failures.map(({ id, error }) => [id, error.name])).toEqual([['F/sub', 'NotAllowedError']]);
    expect(index.size).toBe(2);
  });

  test('may be added by another tab during the ingest', async () => {
    const index = make();
    const racing = new FakeModel();
    racing.before = () => index.add('b.jpg', [0, 1, 0, 0]); // added after the queue was built
    expect(await ingest(index, racing, [file('a.jpg', 'aa'), file('b.jpg', 'bb')]).finished).toMatchObject({
      added: 1,
      updated: 1,
      failed: 0,
    });
    expect(index.vector('b.jpg')[0]).toBeGreaterThan(0.1);
  });
});

describe('two folders with the same name', () => {
  const [camera, phone] = [
    (): FakeFolder => new FakeFolder('DCIM', { '1.jpg': 'camera one', '2.jpg': 'camera two' }),
    (): FakeFolder => new FakeFolder('DCIM', { '1.jpg': 'phone one', '3.jpg': 'phone three' }),
  ];
  /**
   * A dropped folder as Firefox and Safari provide it: an entry without a handle, so it cannot be told from
   * another folder with its name.
   */
  const entryOf = (folder: FakeFolder): FileSystemDirectoryEntry => {
    const files = [...folder.children.values()].map((child) => ({
      isFile: true,
      isDirectory: false,
      name: child.name,
      file: (resolve: (file: File) => void) => resolve((child as FakeFile).content()),
    }));
    const reader = {
      left: [files, []],
      readEntries(resolve: (entries: unknown[]) => void) {
        resolve(this.left.shift()!);
      },
    };
    return {
      isFile: false,
      isDirectory: true,
      name: folder.name,
      createReader: () => reader,
    } as object as FileSystemDirectoryEntry;
  };
  const dropped = (folder: FakeFolder): DroppedFiles =>
    new DroppedFiles(Promise.resolve([{ entry: entryOf(folder) }]));

  test('the second folder is refused, and the first stays unchanged', async () => {
    const index = make();
    await ingest(index, model, camera().handle).finished;
    const before = [...index.vector('DCIM/1.jpg')];
    for (const removeMissing of [false, true]) {
      await expect(ingest(index, model, phone().handle, { removeMissing }).finished).rejects.toMatchObject({
        code: 'INDEX_DUPLICATE_ID',
        message: expect.stringMatching(/"DCIM".*under: 'a name'/) as string,
      });
    }
    expect(index.ids()).toEqual(['DCIM/1.jpg', 'DCIM/2.jpg']);
    expect([...index.vector('DCIM/1.jpg')]).toEqual(before);
    await expect(ingest(make(), model, [camera().handle, phone().handle]).finished).rejects.toMatchObject({
      code: 'INDEX_DUPLICATE_ID',
    });
  });

  test('with `under` the second folder is added too, and removeMissing affects only its own folder', async () => {
    const index = make();
    const [first, second] = [camera(), phone()];
    await ingest(index, model, first.handle).finished;
    await ingest(index, model, second.handle, { under: 'My phone' }).finished;
    expect(index.ids()).toEqual(['DCIM/1.jpg', 'DCIM/2.jpg', 'My phone/DCIM/1.jpg', 'My phone/DCIM/3.jpg']);
    expect(await (await originalOf(index, 'My phone/DCIM/1.jpg'))!.text()).toBe('phone one');
    expect(await (await originalOf(index, 'DCIM/1.jpg'))!.text()).toBe('camera one');
    for (const each of [first, second]) each.children.delete('1.jpg');
    expect(
      await ingest(index, model, second.handle, { under: 'My phone', removeMissing: true }).finished,
    ).toMatchObject({ removed: 1 });
    expect(index.ids()).toEqual(['DCIM/1.jpg', 'DCIM/2.jpg', 'My phone/DCIM/3.jpg']);
    expect(await ingest(index, model, first.handle, { removeMissing: true }).finished).toMatchObject({
      removed: 1,
    });
    expect(index.ids()).toEqual(['DCIM/2.jpg', 'My phone/DCIM/3.jpg']);
  });

  test('a moved folder replaces its old entry if the caller sets `under`', async () => {
    const index = make();
    await ingest(index, model, camera().handle).finished;
    const moved = camera();
    moved.children.delete('2.jpg');
    expect(
      await ingest(index, model, moved.handle, { under: '', removeMissing: true }).finished,
    ).toMatchObject({ unchanged: 1, removed: 1 });
    expect(await ingest(index, model, moved.handle, { removeMissing: true }).finished).toMatchObject({
      unchanged: 1,
      removed: 0,
    }); // its handle is known now
    expect(await foldersOf(index)).toEqual([moved]);
  });

  test.each(['before', 'after'])(
    'without handles the folders look the same: items added %s are only removed if the caller sets `under`',
    async (when) => {
      const index = make();
      const first = camera();
      if (when === 'after') await ingest(index, model, first.handle).finished;
      // An image with the same path replaces the other folder's image.
      expect(await ingest(index, model, dropped(phone())).finished).toMatchObject(
        when === 'after' ? { added: 1, updated: 1 } : { added: 2, updated: 0 },
      );
      if (when === 'before') await ingest(index, model, first.handle).finished;
      for (const source of [first.handle, dropped(phone())]) {
        await expect(ingest(index, model, source, { removeMissing: true }).finished).rejects.toMatchObject({
          code: 'INDEX_OPTIONS',
          message: expect.stringMatching(/"DCIM\/".*under: ''/) as string,
        });
      }
      expect(index.ids().sort()).toEqual(['DCIM/1.jpg', 'DCIM/2.jpg', 'DCIM/3.jpg']);
      expect(
        await ingest(index, model, dropped(phone()), { removeMissing: true, under: '' }).finished,
      ).toMatchObject({ removed: 1 });
      expect(index.ids().sort()).toEqual(['DCIM/1.jpg', 'DCIM/3.jpg']);
    },
  );

  test('items that were imported or added directly are not removed either', async () => {
    const index = make();
    await index.add('DCIM/imported.jpg', [1, 0, 0, 0]);
    const folder = camera();
    await expect(ingest(index, model, folder.handle, { removeMissing: true }).finished).rejects.toMatchObject(
      { code: 'INDEX_OPTIONS' },
    );
    await ingest(index, model, folder.handle).finished;
    await expect(ingest(index, model, folder.handle, { removeMissing: true }).finished).rejects.toMatchObject(
      { code: 'INDEX_OPTIONS' },
    );
    expect(index.has('DCIM/imported.jpg')).toBe(true);
  });

  test('a folder whose ids lie within those of another keeps its items', async () => {
    const index = make();
    const outer = new FakeFolder('All', { 'a.jpg': 'aa', 'b.jpg': 'bb' });
    await ingest(index, model, outer.handle).finished;
    await ingest(index, model, camera().handle, { under: 'All' }).finished;
    outer.children.delete('a.jpg');
    expect(await ingest(index, model, outer.handle, { removeMissing: true }).finished).toMatchObject({
      removed: 1,
    });
    expect(index.ids()).toEqual(['All/b.jpg', 'All/DCIM/1.jpg', 'All/DCIM/2.jpg']);
  });

  test('an unfinished ingest reports its `under`', async () => {
    const index = make();
    await ingest(index, model, [file('a.jpg', 'aa')], { under: 'x/y' }).finished;
    expect(index.ids()).toEqual(['x/y/a.jpg']);
    const losing = new FakeModel();
    losing.before = () => {
      throw new DeviceError('DEVICE_LOST', 'The GPU device was lost.');
    };
    await expect(ingest(index, losing, camera().handle, { under: 'phone' }).finished).rejects.toThrow();
    expect(await unfinishedIngest(index)).toMatchObject({ names: ['DCIM'], under: 'phone' });
    for (const under of ['/', '/a', 'a/', 'a//b'])
      expect(() => ingest(index, model, camera().handle, { under })).toThrow(/under: expected/);
  });
});

describe('images that cannot be added', () => {
  test('are listed with their errors, and the rest is added', async () => {
    const index = make();
    const folder = new FakeFolder('F', {
      'a.jpg': 'aa',
      'b.jpg': 'broken b',
      'c.jpg': 'cc',
      'd.jpg': () => {
        throw new DOMException('gone', 'NotFoundError');
      },
      [`${'e'.repeat(1030)}.jpg`]: 'ee',
      'f.jpg': 'ff',
    });
    const { added, failed, images, failures } = await ingest(index, model, folder.handle, { batchSize: 3 })
      .finished;
    expect({ images, added, failed }).toEqual({ images: 6, added: 3, failed: 3 });
    expect(
      failures
        .map(({ id, error }) => [
          id.slice(0, 8),
          'code' in error && typeof error.code === 'string' ? error.code : error.name,
        ])
        .sort(),
    ).toEqual([
      ['F/b.jpg', 'IMAGE_DECODE'],
      ['F/d.jpg', 'NotFoundError'],
      ['F/eeeeee', 'INDEX_ID'],
    ]);
    expect(index.ids()).toEqual(['F/a.jpg', 'F/c.jpg', 'F/f.jpg']);
  });

  test('two files with the same path: the second is listed', async () => {
    const index = make();
    const { failures } = await ingest(index, model, [file('a.jpg', 'aa'), file('a.jpg', 'other')]).finished;
    expect(failures.map(({ id, error }) => [id, (error as DeviceError).code])).toEqual([
      ['a.jpg', 'INDEX_DUPLICATE_ID'],
    ]);
    expect(index.size).toBe(1);
  });

  test('an item that the index refuses is listed, and the rest of its batch is added', async () => {
    const index = make();
    const metadata = (id: string): Record<string, unknown> => (id === 'b.jpg' ? { bad: 1n } : {});
    const { added, failures } = await ingest(
      index,
      model,
      [file('a.jpg', 'aa'), file('b.jpg', 'bb'), file('c.jpg', 'cc')],
      { metadata },
    ).finished;
    expect(added).toBe(2);
    expect(failures.map(({ id, error }) => [id, (error as DeviceError).code])).toEqual([
      ['b.jpg', 'INDEX_METADATA'],
    ]);
  });

  test('a lost device costs no image if the model recovers', async () => {
    const index = make();
    const losing = new FakeModel();
    losing.before = () => {
      if (losing.asked.length === 3) throw new DeviceError('DEVICE_LOST', 'The GPU device was lost.');
    };
    const folder = new FakeFolder('F', names(30));
    const report = await ingest(index, losing, folder.handle, { batchSize: 5 }).finished;
    expect(report).toMatchObject({ added: 30, failed: 0 });
  });

  test('a device that stays lost ends the ingest; the next ingest of the folder continues', async () => {
    const index = make();
    const folder = new FakeFolder('F', names(30));
    const losing = new FakeModel();
    losing.before = () => {
      if (losing.asked.length >= 3) throw new DeviceError('DEVICE_LOST', 'The GPU device was lost.');
    };
    const run = ingest(index, losing, folder.handle, { batchSize: 5 });
    await expect(run.finished).rejects.toMatchObject({ code: 'DEVICE_LOST' });
    expect(run.progress.phase).toBe('failed');
    expect(index.size).toBe(10);
    expect(await unfinishedIngest(index)).toMatchObject({ names: ['F'], handles: [folder] });
    expect(await ingest(index, model, folder.handle).finished).toMatchObject({ unchanged: 10, added: 20 });
    expect(await unfinishedIngest(index)).toBeUndefined();
  });

  test('an invalid batch size throws at once', () => {
    expect(() => ingest(make(), model, [], { batchSize: 0 })).toThrow(
      /batchSize: expected a whole number from 1, found 0/,
    );
  });
});

describe('a running ingest', () => {
  test('an abort while a thumbnail is made for an existing image does not count as a failure', async () => {
    const index = make();
    const files = [file('a.jpg', 'aa'), file('b.jpg', 'bb')];
    await ingest(index, model, files).finished;
    const reason = new Error('enough');
    const controller = new AbortController();
    vi.stubGlobal('OffscreenCanvas', class {});
    vi.stubGlobal('createImageBitmap', () => {
      controller.abort(reason);
      return Promise.reject(new Error('closed'));
    });
    try {
      const run = ingest(index, model, files, { signal: controller.signal });
      await expect(run.finished).rejects.toBe(reason);
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(run.failures).toEqual([]);
      expect(run.progress).toMatchObject({ phase: 'aborted', failed: 0 });
    } finally {
      vi.unstubAllGlobals();
      vi.stubGlobal('structuredClone', (value: unknown) => value);
    }
  });

  test('pauses between batches, keeps the batches in progress, and resumes', async () => {
    const index = make();
    const told: IngestProgress[] = [];
    const slow = new FakeModel();
    const run = ingest(index, slow, new FakeFolder('F', names(40)).handle, {
      batchSize: 4,
      onProgress: (progress) => void told.push(progress),
    });
    slow.before = () => {
      if (slow.asked.length === 3) run.pause();
    };
    await vi.waitFor(() => expect(run.progress.phase).toBe('paused'), { timeout: 30_000 });
    await vi.waitFor(async () => expect((await unfinishedIngest(index))!.finished).toBe(12), {
      timeout: 30_000,
    });
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(index.size).toBe(12);
    expect(slow.asked).toHaveLength(3);
    run.resume();
    const { added, secondsLeft, perSecond } = await run.finished;
    expect(added).toBe(40);
    expect(secondsLeft).toBe(0);
    expect(perSecond).toBeGreaterThan(0);
    expect([...new Set(told.map(({ phase }) => phase))]).toEqual(['running', 'paused', 'done']);
  });

  test('an error in onProgress during resume() is thrown by resume(), and the ingest continues', async () => {
    let pausedBefore = false;
    let thrown = false;
    const onProgress = ({ phase }: IngestProgress): void => {
      pausedBefore ||= phase === 'paused';
      if (phase !== 'running' || !pausedBefore || thrown) return;
      thrown = true;
      throw new Error('mine');
    };
    const run = ingest(make(), model, new FakeFolder('F', names(40)).handle, { batchSize: 4, onProgress });
    run.pause();
    await new Promise((resolve) => setTimeout(resolve, 60)); // let everything pause
    expect(() => run.resume()).toThrow('mine');
    expect((await run.finished).added).toBe(40);
  });

  test('the error that ended the ingest is reported even if onProgress then throws', async () => {
    const index = make();
    index.addMany = async () => Promise.reject(new Error('the disk is full'));
    const onProgress = ({ phase }: IngestProgress): void => {
      if (phase === 'failed') throw new Error('mine');
    };
    await expect(
      ingest(index, model, new FakeFolder('F', names(40)).handle, { batchSize: 4, onProgress }).finished,
    ).rejects.toThrow('the disk is full');
  });

  test('can be aborted while running or paused; committed items stay', async () => {
    for (const paused of [false, true]) {
      const index = make();
      const controller = new AbortController();
      const slow = new FakeModel();
      const run = ingest(index, slow, new FakeFolder('F', names(40)).handle, {
        batchSize: 4,
        signal: controller.signal,
      });
      slow.before = () => {
        if (slow.asked.length < 4) return;
        if (paused) run.pause();
        else controller.abort(new Error('enough'));
      };
      if (paused) {
        await vi.waitFor(() => expect(index.size).toBe(16), { timeout: 30_000 });
        run.abort(new Error('enough'));
      }
      await expect(run.finished).rejects.toThrow('enough');
      expect(run.progress.phase).toBe('aborted');
      expect(index.size % 4).toBe(0);
      expect(index.size).toBeGreaterThan(0);
      expect(slow.alive).toBe(0);
      expect(await unfinishedIngest(index)).toMatchObject({ names: ['F'] });
    }
  });

  test('the next batch starts before the previous one is done', async () => {
    const overlapping = new FakeModel();
    let running = 0;
    let most = 0;
    overlapping.before = async () => {
      most = Math.max(most, (running += 1));
      await new Promise((resolve) => setTimeout(resolve, 5));
      running -= 1;
    };
    await ingest(make(), overlapping, new FakeFolder('F', names(24)).handle, { batchSize: 4 }).finished;
    expect(most).toBe(2);
  });

  test('random folders, batches and failures: every image is counted once, and is in the index or in the list of failures', async () => {
    let seed = 7;
    const random = (below: number): number => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 1) % below;
    for (let i = 0; i < (full ? 200 : 40); i++) {
      const index = make();
      const count = random(40);
      const tree = Object.fromEntries(
        Array.from({ length: count }, (_, k) => [
          `${k}.jpg`,
          `${['', '', '', 'broken ', 'wide '][random(5)]}${k}`,
        ]),
      );
      const run = ingest(index, model, new FakeFolder('F', tree).handle, { batchSize: 1 + random(9) });
      const { images, added, failed, failures } = await run.finished;
      expect(images).toBe(count);
      expect(added + failed).toBe(count);
      expect(index.size).toBe(added);
      expect(new Set([...index.ids(), ...failures.map(({ id }) => id)]).size).toBe(count);
    }
    expect(model.alive).toBe(0);
  });
});

describe('stored state of an ingest', () => {
  test('the index stores its folders, each once, and finds the original files in them', async () => {
    const index = make();
    const [first, second] = [
      new FakeFolder('A', { sub: { 'a.jpg': 'aa' } }),
      new FakeFolder('B', { 'b.jpg': 'bb' }),
    ];
    await ingest(index, model, [first.handle, second.handle]).finished;
    await ingest(index, model, first.handle).finished;
    expect(await foldersOf(index)).toEqual([first, second]);
    expect(await (await originalOf(index, 'A/sub/a.jpg'))!.text()).toBe('aa');
    expect(await (await originalOf(index, 'B/b.jpg'))!.text()).toBe('bb');
    expect(await originalOf(index, 'B/c.jpg')).toBeUndefined();
    expect(await askAgain(await foldersOf(index))).toBe(true);
  });

  test('the index stores only the names of plain files, and nothing after forgetIngest', async () => {
    const index = make();
    const losing = new FakeModel();
    losing.before = () => {
      throw new DeviceError('DEVICE_LOST', 'The GPU device was lost.');
    };
    await expect(ingest(index, losing, [file('a.jpg', 'aa')]).finished).rejects.toThrow();
    expect(await unfinishedIngest(index)).toEqual({
      names: ['a.jpg'],
      handles: undefined,
      under: undefined,
      images: expect.any(Number),
      finished: 0,
    });
    await forgetIngest(index);
    expect(await unfinishedIngest(index)).toBeUndefined();
  });
});
