// Invalid options of every call, and local files as images, configurations and weights, in Node.
import { readFile } from 'node:fs/promises';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeSafetensors } from '../src/safetensors.ts';
import {
  checkForUpdate,
  cosineSimilarity,
  DINOv2,
  ImageClassifier,
  ImageError,
  OptionError,
  PCA,
  SourceError,
  type EmbedAllOptions,
  type ImageSource,
} from '../src/index.ts';
import { sharedDevice } from './gpu/sharedDevice.ts';
import { describeImage, EmbeddingIndex, ingest, modelIdentity } from '../src/search.ts';

const tiny = fileURLToPath(new URL('fixtures/reference/tiny-plain/', import.meta.url));
const photo = fileURLToPath(new URL('../demo/photos/chelsea.png', import.meta.url));
const load = { device: await sharedDevice(), selfTest: false } as const;
const folder = mkdtempSync(join(tmpdir(), 'options-'));
let model: DINOv2;
beforeAll(async () => {
  model = await DINOv2.fromPretrained(tiny, load);
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const thrown = async (run: () => unknown): Promise<Error & { code?: string }> => {
  try {
    await run();
  } catch (error) {
    return error as Error;
  }
  throw new Error('nothing was thrown');
};
const image = { data: new Uint8Array(28 * 28 * 3), width: 28, height: 28 };
const size = { resize: 'square', size: 28 } as const;
const pixels = new Float32Array(588);
const patch = { height: 14, width: 14 };

/** Every call of a model that takes options. */
const calls: [string, (options: never) => unknown][] = [
  ['fromPretrained', (options) => DINOv2.fromPretrained(tiny, options)],
  ['fromFiles', (options) => DINOv2.fromFiles({ weights: join(tiny, 'model.safetensors') }, options)],
  ['fromFiles', (files) => DINOv2.fromFiles(files)],
  ['synthetic', (options) => DINOv2.synthetic('small', options)],
  ['features', (options) => model.features(image, options)],
  ['featuresBySize', (options) => model.featuresBySize([image], options)],
  ['embed', (options) => model.embed(image, options)],
  ['embedAll', (options) => model.embedAll([image], options).next()],
  ['pixels', (options) => model.pixels(image, options)],
  ['profile', (options) => model.profile(image, options)],
  ['tune', (options) => model.tune(options)],
  ['describe', (options) => model.describe(options)],
  ['forward', (options) => model.forward(pixels, patch, options)],
  ['forward', (given) => model.forward(pixels, given)],
  ['checkForUpdate', (options) => checkForUpdate('facebook/dinov2-small', options)],
  ['EmbeddingIndex', (options) => new EmbeddingIndex(options)],
  ['EmbeddingIndex.open', (options) => EmbeddingIndex.open('name', options)],
  ['import', (options) => EmbeddingIndex.import(new Blob([]), options)],
  ['search', (options) => index().search([1, 0], options)],
  ['searchByPart', (options) => index().searchByPart({ rows: 1, cols: 1, tokens: pixels }, options)],
  ['neighbours', (options) => index().neighbours('a', options)],
  ['duplicates', (options) => index().duplicates(options)],
  ['clusters', (options) => index().clusters(2, options)],
  ['map', (options) => index().map(options)],
  ['ingest', (options) => ingest(index(), model, [], options)],
  ['describeImage', (options) => describeImage(model, new Blob([]), options)],
  ['modelIdentity', (options) => modelIdentity(model, options)],
];
const index = (): EmbeddingIndex => new EmbeddingIndex({ dim: 2, device: 'cpu' });

describe('option names and values', () => {
  test.each(calls)('%s', async (where, call) => {
    const misspelt = await thrown(() => call({ cropsize: 224 } as never));
    expect(misspelt).toBeInstanceOf(OptionError);
    expect(misspelt.code).toBe('OPTION_NAME');
    expect(misspelt.message).toBe(`${where}: unknown option "cropsize". Did you mean "cropSize"?`);
    for (const wrong of [null, 'crop', ['crop']]) {
      const refused = await thrown(() => call(wrong as never));
      expect(refused).toBeInstanceOf(OptionError);
      expect(refused.code).toBe('OPTION_VALUE');
      expect(refused.message).toContain(`${where}: expected an object of options, found`);
    }
  });

  test('of features, PCA and classifiers', async () => {
    using features = await model.features(image, size);
    const pca = await PCA.fit(features);
    const weights = encodeSafetensors([
      ['linear.weight', { dtype: 'F32', shape: [2, 2 * model.config.embedDim], data: floats(4 * 128) }],
      ['linear.bias', { dtype: 'F32', shape: [2], data: floats(2) }],
    ]);
    const classifier = await ImageClassifier.fromFiles(model, { weights });
    const more: [string, (options: never) => unknown][] = [
      ['hiddenState', (options) => features.hiddenState(2, options)],
      ['getIntermediateLayers', (options) => features.getIntermediateLayers(1, options)],
      ['attention', (options) => features.attention(0, options)],
      ['PCA.fit', (options) => PCA.fit(features, options)],
      ['PCA.rgb', (options) => pca.rgb(features, options)],
      ['PCA.draw', (options) => pca.draw(features, {} as HTMLCanvasElement, options)],
      ['PCA.drawTo', (options) => pca.drawTo(features, {} as HTMLCanvasElement, options)],
      ['PCA.png', (options) => pca.png(features, options)],
      ['classify', (options) => classifier.classify(image, options)],
      ['ImageClassifier.fromFiles', (options) => ImageClassifier.fromFiles(model, { weights }, options)],
      ['ImageClassifier.fromFiles', (files) => ImageClassifier.fromFiles(model, files)],
    ];
    for (const [where, call] of more) {
      expect((await thrown(() => call({ bacthIndex: 0 } as never))).message).toBe(
        `${where}: unknown option "bacthIndex". Did you mean "batchIndex"?`,
      );
      expect((await thrown(() => call(null as never))).code).toBe('OPTION_VALUE');
    }
    const wrong: (() => unknown)[] = [
      () => classifier.classify(image, { ...size, topK: 0 }),
      () => features.hiddenState(7),
      () => features.attention(9),
      () => features.getIntermediateLayers(0),
      () => pca.rgb(features, { batchIndex: 1 }),
      () => pca.drawTo(features, {} as HTMLCanvasElement),
      () => pca.png(features, { scale: 1.5 }),
      () => PCA.fromJSON({} as never),
      () => cosineSimilarity([1], [1, 2]),
    ];
    for (const call of wrong) {
      const error = await thrown(call);
      expect(error).toBeInstanceOf(OptionError);
      expect(error.code).toBe('OPTION_VALUE');
    }
  });

  test.each<[string, object]>([
    ['dtype', { dtype: 'q4' }],
    ['posEmbed', { posEmbed: 'bilinear' }],
    ['cache', { cache: 'disk' }],
    ['integrity', { integrity: 'abc' }],
    ['retry.attempts', { retry: { attempts: 0 } }],
    ['retry', { retry: null }],
    ['retry', { retry: { delayMs: -1 } }],
  ])('a load with a wrong %s', async (name, options) => {
    const error = await thrown(() => DINOv2.fromPretrained(tiny, { ...load, ...options }));
    expect(error).toBeInstanceOf(OptionError);
    expect(error.code).toBe('OPTION_VALUE');
    expect(error.message).toContain(name);
  });

  test('an unknown name within retry', async () => {
    const retry = { atempts: 3 } as object;
    expect((await thrown(() => DINOv2.fromPretrained(tiny, { ...load, retry }))).message).toBe(
      'retry: unknown option "atempts". Did you mean "attempts"?',
    );
  });

  test('wrong pixels are an ImageError, a wrong size is an OptionError', async () => {
    const wrong: [ImageError['code'], Float32Array][] = [
      ['INPUT_SHAPE', new Float32Array(5)],
      ['INPUT_SHAPE', [1] as never],
      ['INPUT_NOT_FINITE', pixels.map(() => NaN)],
    ];
    for (const [code, given] of wrong) {
      const error = await thrown(() => model.forward(given, patch));
      expect(error).toBeInstanceOf(ImageError);
      expect(error.code).toBe(code);
    }
    for (const given of [{ height: 0, width: 14 }, { height: 13, width: 14 }, {}, { ...patch, batch: 1.5 }])
      expect((await thrown(() => model.forward(pixels, given as never))).code).toBe('OPTION_VALUE');
  });

  test('one options object works with all calls', async () => {
    const look = { ...size, pooling: 'cls', batchSize: 2, topK: 3, threshold: 0.1, layers: [1] } as const;
    const vector = await model.embed(image, look);
    using features = await model.features(image, look);
    expect(await features.hiddenState(1)).toHaveLength(5 * model.config.embedDim);
    for await (const { embedding } of model.embedAll([image], look)) expect(embedding).toEqual(vector);
    expect(await modelIdentity(model, look)).toEqual(await modelIdentity(model, { ...size, pooling: 'cls' }));
  });

  test.each<[string, EmbedAllOptions]>([
    ['orientation', { orientation: 'up' as never }],
    ['pooling', { pooling: 'max' as never }],
  ])('a wrong %s ends embedAll and ingest instead of failing each image', async (_, options) => {
    const error = await thrown(async () => {
      for await (const each of model.embedAll([photo, photo], options)) expect(each).toBeUndefined();
    });
    expect(error).toBeInstanceOf(OptionError);
    const kept = new EmbeddingIndex({ dim: model.config.embedDim, device: 'cpu' });
    const files = [new File([await readFile(photo)], 'a.png', { type: 'image/png' })];
    await expect(ingest(kept, model, files, { ...options, thumbnailPx: 0 }).finished).rejects.toBeInstanceOf(
      OptionError,
    );
  });

  test.each<[string, unknown]>([
    ['a path', photo],
    ['bytes', new Uint8Array(4)],
    ['one image', image],
    ['nothing', undefined],
  ])('embedAll refuses %s instead of a list of images', async (_, images) => {
    const error = await thrown(() => model.embedAll(images as ImageSource[]).next());
    expect(error).toBeInstanceOf(OptionError);
    expect(error.message).toContain('for one image use embed()');
  });
});

const floats = (count: number): Uint8Array =>
  new Uint8Array(Float32Array.from({ length: count }, (_, i) => Math.sin(i)).buffer);

describe('local files', () => {
  test('images: paths, URLs, and the bytes of a file', async () => {
    const bytes = await readFile(photo);
    const expected = await model.embed(new Blob([bytes]), size);
    const url = pathToFileURL(photo);
    const within = new Uint8Array(bytes.length + 7);
    within.set(bytes, 7);
    const sources: ImageSource[] = [
      photo,
      relative(process.cwd(), photo),
      `./${relative(process.cwd(), photo)}`,
      url,
      url.href,
      bytes,
      new Uint8Array(bytes),
      within.subarray(7),
      within.buffer.slice(7),
    ];
    for (const source of sources) expect(await model.embed(source, size)).toEqual(expected);
    const { data } = await model.pixels(sources.slice(0, 2), size);
    expect(data.subarray(0, 3 * 28 * 28)).toEqual(data.subarray(3 * 28 * 28));
    const all: Float32Array[] = [];
    for await (const { embedding } of model.embedAll(sources, size)) all.push(embedding!);
    expect(all).toEqual(sources.map(() => expected));
  });

  test('images: names with characters that are special in URLs', async () => {
    const path = join(folder, 'a b#1?.50%.png');
    writeFileSync(path, await readFile(photo));
    expect(await model.embed(path, size)).toEqual(await model.embed(pathToFileURL(path), size));
  });

  test('images: http, data and blob URLs', async () => {
    const bytes = await readFile(photo);
    const server = createServer((_, response) => response.end(bytes)).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    try {
      const expected = await model.embed(bytes, size);
      const { port } = server.address() as AddressInfo;
      for (const source of [
        `http://127.0.0.1:${port}/a.png`,
        new URL(`http://127.0.0.1:${port}/a.png`),
        `data:image/png;base64,${bytes.toString('base64')}`,
        URL.createObjectURL(new Blob([bytes])),
      ])
        expect(await model.embed(source, size)).toEqual(expected);
    } finally {
      server.close();
    }
    const gone = await thrown(() => model.embed('http://127.0.0.1:1/a.png'));
    expect(gone.code).toBe('IMAGE_FETCH');
    expect(gone.message).not.toContain('CORS');
  });

  test('missing files, and files that are no images', async () => {
    const text = join(folder, 'text.png');
    writeFileSync(text, 'no image');
    const jpeg = join(folder, 'photo.jpg');
    writeFileSync(jpeg, await readFile('demo/photos/rocket.jpg'));
    const cases: [ImageSource, string, RegExp][] = [
      [
        './not/there.png',
        'IMAGE_FETCH',
        /^\.\/not\/there\.png: the file cannot be read: there is no such file\. Check the path/,
      ],
      [
        pathToFileURL('/not/there.png'),
        'IMAGE_FETCH',
        /^file:\/\/\/not\/there\.png: .* there is no such file/,
      ],
      [folder, 'IMAGE_FETCH', /it is a folder/],
      ['', 'IMAGE_FETCH', /no such file/],
      [text, 'IMAGE_DECODE', /found text/],
      [jpeg, 'IMAGE_DECODE', /sharp.*\{ data, width, height, channels \}/],
      [new Uint8Array(0), 'IMAGE_DECODE', /0 bytes/],
      [new Uint8Array(588), 'IMAGE_DECODE', /588 bytes/],
      [new Float32Array(588) as never, 'IMAGE_TYPE', /found Float32Array/],
    ];
    for (const [source, code, message] of cases) {
      const error = await thrown(() => model.embed(source));
      expect(error).toBeInstanceOf(ImageError);
      expect(error.code).toBe(code);
      expect(error.message).toMatch(message);
      expect(error.message).not.toContain('CORS');
    }
    const results: unknown[] = [];
    for await (const { embedding, error } of model.embedAll([photo, './not/there.png', photo], size))
      results.push(embedding ? 'a vector' : error.code);
    expect(results).toEqual(['a vector', 'IMAGE_FETCH', 'a vector']);
  });

  test('aborting while a file is read rejects with the abort reason', async () => {
    const controller = new AbortController();
    const running = model.embed(photo, { signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(running).rejects.toThrow('enough');
  });

  test('a checkpoint: configuration and weights as paths, URLs, bytes, files and text', async () => {
    const [config, weights] = [join(tiny, 'config.json'), join(tiny, 'model.safetensors')];
    const text = await readFile(config, 'utf8');
    const bytes = await readFile(config);
    const fromCwd = (path: string): string => `./${relative(process.cwd(), path)}`;
    const handle = { kind: 'file', getFile: async () => new File([bytes], 'config.json') };
    const configs = [
      config,
      fromCwd(config),
      pathToFileURL(config),
      pathToFileURL(config).href,
      bytes,
      new Uint8Array(bytes).buffer,
      new Blob([bytes]),
      handle as FileSystemFileHandle,
      text,
      `\n\t ${text}`,
      JSON.parse(text) as object,
    ];
    const sources = [weights, fromCwd(weights), pathToFileURL(weights), await readFile(weights)];
    for (const [i, given] of configs.entries()) {
      using loaded = await DINOv2.fromFiles({ config: given, weights: sources[i % sources.length]! }, load);
      expect(loaded.config).toEqual(model.config);
    }
  });

  test('a missing configuration, and invalid ones', async () => {
    const weights = join(tiny, 'model.safetensors');
    const missing = await thrown(() => DINOv2.fromFiles({ config: './not/there.json', weights }, load));
    expect(missing).toBeInstanceOf(SourceError);
    expect(missing).toMatchObject({ code: 'SOURCE_READ', message: expect.stringMatching(/no such file/) });
    for (const config of ['', '{', '  {"a":', new Uint8Array(3), photo])
      expect((await thrown(() => DINOv2.fromFiles({ config, weights }, load))).code).toMatch(
        /^(CONFIG_JSON|SOURCE_TOO_LONG)$/,
      );
  });

  test("a classifier's weights as a path, URL and bytes", async () => {
    const path = join(folder, 'head.safetensors');
    writeFileSync(
      path,
      encodeSafetensors([
        [
          'linear.weight',
          { dtype: 'F32', shape: [2, 2 * model.config.embedDim], data: floats(4 * model.config.embedDim) },
        ],
        ['linear.bias', { dtype: 'F32', shape: [2], data: floats(2) }],
      ]),
    );
    const found = [];
    for (const weights of [path, pathToFileURL(path), pathToFileURL(path).href, await readFile(path)])
      found.push(await (await ImageClassifier.fromFiles(model, { weights })).classify(photo, size));
    expect(found[0]).toHaveLength(2);
    for (const each of found) expect(each).toEqual(found[0]);
  });
});
