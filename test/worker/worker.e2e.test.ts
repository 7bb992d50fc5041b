// The published library in a worker: the same numbers and errors as in the page, aborts, and the worker's
// lifetime.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Page } from 'playwright';
import { full } from '../full.ts';
import { openWorkerSite, type Globals, type PageModel, type WorkerModel, type WorkerSite } from './site.ts';

let site: WorkerSite;
let page: Page;
beforeAll(async () => {
  site = await openWorkerSite();
  page = await site.open();
});
afterAll(() => site.close());
/** Gives the page's model and the worker time to release their devices between tests. */
afterEach(async () => {
  site.held = Promise.resolve();
  await page.waitForTimeout(50);
});

/** Number of workers of the page. */
const workers = (): number => page.workers().length;
const noWorkers = async (): Promise<void> => expect.poll(workers).toBe(0);

/**
 * Loads a model on each side and keeps both through the following tests, with their devices and compiled
 * pipelines: on a software adapter, each device takes 5 s. Returns the page model's vector of a photograph.
 */
const keep = (): Promise<number[]> =>
  page.evaluate(async () => {
    const { library, worker } = globalThis as unknown as Globals;
    const [first, second] = [
      await library.DINOv2.fromPretrained('/weights/', { selfTest: false }),
      await worker.DINOv2.fromPretrained('/weights/', { selfTest: false }),
    ];
    Object.assign(globalThis, { keepers: [first, second] });
    return [...(await first.embed(await (await fetch('/photos/rocket.jpg')).blob()))];
  });
let rocket: number[];

describe('the same as in the page', () => {
  beforeAll(async () => void (rocket = await keep()));

  test('all results of a model, bit for bit', async () => {
    const { different, compared } = await page.evaluate(async () => {
      const { library, worker } = globalThis as unknown as Globals;
      const blob = await (await fetch('/photos/chelsea.png')).blob();
      const other = await (await fetch('/photos/rocket.jpg')).blob();
      const options = { resize: 'fit', longestSide: 112, layers: [0, 1, 2], attentions: [1] } as const;
      const pixels = Float32Array.from({ length: 2 * 3 * 28 * 42 }, (_, i) => Math.sin(i));
      const results = async ({
        DINOv2,
        PatchSegmenter,
        PatchTracker,
        PCA,
        correspondences,
        cosineSimilarity,
        patchAt,
        PatchSimilarity,
      }: Globals['library'] | Globals['worker']): Promise<Record<string, unknown>> => {
        const model = await DINOv2.fromPretrained('/weights/', { selfTest: false });
        const { config, dtype, dtypeReason, adapter, parameterCount } = model;
        // Both entries have the same methods. Only the classes of their intermediate results differ in type.
        const plain = model as unknown as PageModel;
        const features = await plain.features(blob, options);
        const forwarded = await plain.forward(
          pixels,
          { height: 28, width: 42, batch: 2 },
          { maskedPatches: new Uint8Array(12).fill(1, 3, 5) },
        );
        const forwarded2 = await plain.features([other, blob], { resize: 'fit', longestSide: 112 });
        const pca = await (PCA as unknown as Globals['library']['PCA']).fit(features);
        const canvas = document.createElement('canvas');
        await pca.draw(features, canvas);
        await pca.draw(features, canvas);
        const segmenter = await (PatchSegmenter as unknown as Globals['library']['PatchSegmenter']).fit(
          [features, features],
          {
            positive: [
              { row: 1, col: 1 },
              { x: 300, y: 200, image: 1 },
            ],
            negative: [{ row: 3, col: 4 }],
          },
        );
        const segments = await segmenter.map(features);
        const Tracker = PatchTracker as unknown as Globals['library']['PatchTracker'];
        const tracker = await Tracker.start(features, { mask: segments, contextFrames: 2 });
        const ofMap = await Tracker.start(features, { mask: await segments.read(), topK: 3 });
        const tracked = [
          await tracker.next(forwarded2, { batchIndex: 1 }),
          await tracker.next(features),
          await ofMap.next(features),
        ];
        const pairs = await (correspondences as Globals['library']['correspondences'])(features, forwarded, {
          batchIndexB: 1,
          topK: 20,
        });
        const similar = await features.similarity({ x: 150, y: 100 });
        const several = await features.similarity(
          { positive: [{ row: 1, col: 1 }], negative: [{ row: 3, col: 4 }] },
          { against: [forwarded, features], againstBatchIndex: 0 },
        );
        const map = document.createElement('canvas');
        await similar.draw(map, { width: 60, height: 40, range: [0, 1] });
        const groups = await plain.featuresBySize([blob, other, blob], { resize: 'fit', longestSide: 56 });
        const found: Record<string, unknown> = {
          state: {
            config,
            dtype,
            dtypeReason: dtypeReason.replaceAll(/[\d.]+ (m?s)\b/g, ''),
            adapter,
            parameterCount,
          },
          cls: await features.clsToken(),
          pooler: await features.poolerOutput(),
          registers: await features.registerTokens(),
          patches: await features.patchTokens(),
          last: await features.lastHiddenState(),
          hidden: [await features.hiddenState(0), await features.hiddenState(1, { norm: true })],
          layers: await features.getIntermediateLayers(2, { reshape: true, returnClassToken: true }),
          lastLayer: await features.getIntermediateLayers(),
          attention: [
            await features.attention(1),
            await features.attention(1, { query: { row: 1, col: 2 }, head: 'mean' }),
          ],
          maps: [
            ...(await features.attentionMap(-1, { query: { row: 0, col: 1 } })),
            await features.attentionMap(-1, { query: { row: 1, col: 2 }, head: 'mean' }),
          ].map(({ rows, cols, values }) => [rows, cols, values]),
          fromTheEnd: await features.hiddenState(-2),
          sizes: [
            features.batch,
            features.rows,
            features.cols,
            features.embedDim,
            features.numHeads,
            features.depth,
            features.numRegisterTokens,
            features.numTokens,
          ],
          forward: await forwarded.lastHiddenState(),
          embed: await plain.embed(blob, { resize: 'square', size: 70, pooling: 'cls+mean' }),
          ofBytes: await plain.embed(new Uint8Array(await blob.arrayBuffer()), {
            resize: 'square',
            size: 70,
          }),
          shared: await plain.embed(other, {
            resize: 'square',
            size: 70,
            topK: 3,
            onProgress: () => undefined,
            device: { mine: () => undefined },
          } as never),
          embedMany: await plain.embed([blob, other], { resize: 'fit', longestSide: 70 }),
          pixels: await plain.pixels([blob, other], { resize: 'square', size: 70 }),
          groups: await Promise.all(
            groups.map(async (group) => [group.indices, await group.features.clsToken()]),
          ),
          pca: pca.toJSON(),
          rgb: await pca.rgb(features, { background: 'colored' }),
          again: await (PCA as unknown as Globals['library']['PCA'])
            .fromJSON(JSON.parse(JSON.stringify(pca)) as ReturnType<typeof pca.toJSON>)
            .rgb(features),
          segmenter: segmenter.toJSON(),
          segments: await segments.read(),
          placements: [features.placements, forwarded.placements],
          patch: (patchAt as Globals['library']['patchAt'])(features, { x: 150, y: 100 }),
          similarity: [await similar.read(), await several[0]!.read(), await several[1]!.read()],
          similarInMemory: (await PatchSimilarity.read(features)).map({ x: 150, y: 100 }),
          map: map.getContext('2d')!.getImageData(0, 0, map.width, map.height).data,
          tracked: await Promise.all(tracked.map((each) => each.read())),
          tracker: [tracker.rows, tracker.cols, tracker.embedDim],
          correspondences: [pairs.matches, pairs.nearest(1, 2), pairs.nearestInA(1, 1)],
          canvas: canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data,
          describe: await plain.describe({ height: 56, width: 56 }),
          // `heldBytes` and the peaks depend on what has been freed so far.
          memory: await plain
            .memory({ height: 42, width: 56, batch: 2, layers: [1] })
            .then(({ weightBytes, activationBytes, growthBytes, pixelBytes, outputBytes, readBytes }) => [
              weightBytes,
              activationBytes,
              growthBytes,
              pixelBytes,
              outputBytes,
              readBytes,
            ]),
          fingerprint: await plain.fingerprint(),
          tune: { ...(await plain.tune({ sizesPx: [56], store: false })), ms: 0 },
          similar: cosineSimilarity(
            await plain.embed(blob, { resize: 'square', size: 70 }),
            await plain.embed(other, { resize: 'square', size: 70 }),
          ),
          held: (await model.gpuBytes) > 1e6,
          profiled: (await plain.profile(blob, { resize: 'square', size: 56 })).kernels
            .map(({ kernel }) => kernel)
            .sort(),
        };
        for (const each of [
          segments,
          similar,
          ...several,
          tracker,
          ofMap,
          ...tracked,
          forwarded2,
          features,
          forwarded,
          ...groups.map((group) => group.features),
          model,
        ])
          each.dispose();
        return found;
      };
      const [first, second] = [await results(library), await results(worker)];
      const text = (value: unknown): string =>
        JSON.stringify(value, (_, each: unknown) =>
          ArrayBuffer.isView(each)
            ? [each.constructor.name, ...new Uint8Array(each.buffer, each.byteOffset, each.byteLength)]
            : each,
        );
      const names = Object.keys(first);
      return {
        compared: names.length,
        different: names
          .filter((name) => text(first[name]) !== text(second[name]))
          .map((name) => `${name}: ${text(first[name]).slice(0, 300)} ${text(second[name]).slice(0, 300)}`),
      };
    });
    expect(different).toEqual([]);
    expect(compared).toBeGreaterThan(20);
  });

  test('files, streams, bytes and synthetic weights; progress', async () => {
    const found = await page.evaluate(async () => {
      const { worker } = globalThis as unknown as Globals;
      const bytes = new Uint8Array(await (await fetch('/weights/model.safetensors')).arrayBuffer());
      const config = await (await fetch('/weights/config.json')).text();
      // Keeps the worker and its compiled pipelines.
      const keeper = await worker.DINOv2.fromFiles({ config, weights: bytes }, { selfTest: false });
      const vectors: string[] = [];
      const pixels = Float32Array.from({ length: 3 * 28 * 28 }, (_, i) => Math.cos(i));
      const padded = new Uint8Array(bytes.length + 9);
      padded.set(bytes, 4);
      const progress: number[] = [];
      const ways = [
        [config, new Blob([bytes])],
        [new Blob([config]), bytes],
        [new TextEncoder().encode(` ${config}`).subarray(1), padded.subarray(4, 4 + bytes.length)],
        [JSON.parse(config) as object, new Blob([bytes]).stream()],
        [
          new URL('/weights/config.json', location.href),
          new URL('/weights/model.safetensors', location.href),
        ],
        ['weights/config.json', 'weights/model.safetensors'],
      ] as const;
      for (const [description, weights] of ways) {
        const model = await worker.DINOv2.fromFiles(
          { config: description, weights },
          { selfTest: false, onProgress: ({ loadedBytes }) => progress.push(loadedBytes) },
        );
        const features = await model.forward(pixels, { height: 28, width: 28 });
        vectors.push(String(await features.clsToken()));
        features.dispose();
        model.dispose();
      }
      const model = await worker.DINOv2.synthetic({ ...keeper.config, depth: 1 }, { selfTest: false });
      const { depth } = model.config;
      for (const each of [model, keeper]) each.dispose();
      return {
        distinct: new Set(vectors).size,
        depth,
        stillThere: bytes.length,
        progressed: progress.includes(bytes.length),
      };
    });
    expect(found).toEqual({ distinct: 1, depth: 1, stillThere: 1909560, progressed: true });
  });

  test('a fetch function of the page: its headers, errors and abort', async () => {
    const found = await page.evaluate(async () => {
      const { worker } = globalThis as unknown as Globals;
      const asked: string[] = [];
      const model = await worker.DINOv2.fromPretrained('/weights/', {
        cache: 'none',
        selfTest: false,
        fetch: (input, init) => {
          asked.push(
            `${new URL(String(input)).pathname} ${new Headers(init?.headers).get('range') ?? 'whole'}`,
          );
          return fetch(input, init);
        },
      });
      model.dispose();
      const thrown = new RangeError('no more');
      const error = (await worker.DINOv2.fromPretrained('/weights/', {
        cache: 'none',
        selfTest: false,
        retry: { attempts: 1 },
        fetch: async () => Promise.reject(thrown),
      }).catch((reason: unknown) => reason)) as Error;
      let seen: AbortSignal | null | undefined;
      const controller = new AbortController();
      const waiting = worker.DINOv2.fromPretrained('/weights/', {
        cache: 'none',
        selfTest: false,
        signal: controller.signal,
        fetch: (_, init) =>
          new Promise(() => ((seen = init?.signal), setTimeout(() => controller.abort('enough'), 50))),
      });
      const reason: unknown = await waiting.catch((each: unknown) => each);
      return {
        asked,
        isSource: error instanceof worker.SourceError,
        sameCause: error.cause === thrown,
        reason,
        aborted: seen?.aborted,
      };
    });
    expect(found.asked).toContain('/weights/config.json whole');
    expect(found.asked.some((line) => line.startsWith('/weights/model.safetensors'))).toBe(true);
    expect(found).toMatchObject({ isSource: true, sameCause: true, reason: 'enough', aborted: true });
  });

  test('a classifier', async () => {
    const found = await page.evaluate(async () => {
      const { library, worker } = globalThis as unknown as Globals;
      const blob = await (await fetch('/photos/coffee.png')).blob();
      const json = JSON.stringify({
        'linear.weight': { dtype: 'F32', shape: [3, 256], data_offsets: [0, 3072] },
        'linear.bias': { dtype: 'F32', shape: [3], data_offsets: [3072, 3084] },
      });
      const padded = json.padEnd(Math.ceil(json.length / 8) * 8);
      const head = new Blob([
        new BigUint64Array([BigInt(padded.length)]),
        padded,
        Float32Array.from({ length: 771 }, (_, i) => Math.sin(i * i)),
      ]);
      const results: string[] = [];
      const inPage = await library.DINOv2.fromPretrained('/weights/', { selfTest: false });
      const first = await library.ImageClassifier.fromFiles(inPage, {
        weights: head,
        labels: ['a', 'b', 'c'],
        problemType: 'multi_label_classification',
      });
      results.push(
        JSON.stringify([
          first.labels,
          first.numClasses,
          first.blocks,
          first.problemType,
          first.scoreFunction,
          first.layers,
          await first.classify(blob),
          await first.classify([blob, blob], { topK: 1 }),
        ]),
      );
      inPage.dispose();
      const inWorker = await worker.DINOv2.fromPretrained('/weights/', { selfTest: false });
      const second = await worker.ImageClassifier.fromFiles(inWorker, {
        weights: head,
        labels: ['a', 'b', 'c'],
        problemType: 'multi_label_classification',
      });
      results.push(
        JSON.stringify([
          second.labels,
          second.numClasses,
          second.blocks,
          second.problemType,
          second.scoreFunction,
          second.layers,
          await second.classify(blob),
          await second.classify([blob, blob], { topK: 1 }),
        ]),
      );
      const features = await inWorker.features(blob);
      const logits = (await second.logits(features))[0]!.length;
      features.dispose();
      const wrong: unknown = await worker.ImageClassifier.fromFiles(inWorker, {
        weights: head,
        labels: ['a'],
      }).catch((error: unknown) => error);
      const misused: unknown = await worker.ImageClassifier.fromFiles(inWorker, {
        weights: head,
        problemType: 'several' as never,
      }).catch((error: unknown) => error);
      inWorker.dispose();
      return {
        isOption: misused instanceof worker.OptionError,
        same: results[0] === results[1],
        logits,
        code: (wrong as { code: string }).code,
        isConfig: wrong instanceof worker.ConfigError,
        found: results[1],
      };
    });
    expect(found).toMatchObject({
      same: true,
      logits: 3,
      code: 'CONFIG_FIELD',
      isConfig: true,
      isOption: true,
    });
    expect(found.found).toContain('"multi_label_classification","sigmoid"');
    expect(found.found).toContain('"label":"');
  });

  test("a linear head of Meta has ImageNet's class names", async () => {
    const labels = await page.evaluate(async () => {
      const { worker } = globalThis as unknown as Globals;
      const json = JSON.stringify({
        weight: { dtype: 'F16', shape: [1000, 256], data_offsets: [0, 512000] },
        bias: { dtype: 'F16', shape: [1000], data_offsets: [512000, 514000] },
      });
      const padded = json.padEnd(Math.ceil(json.length / 8) * 8);
      const weights = new Blob([
        new BigUint64Array([BigInt(padded.length)]),
        padded,
        new Uint8Array(514_000),
      ]);
      const model = await worker.DINOv2.fromPretrained('/weights/', { selfTest: false });
      const classifier = await worker.ImageClassifier.fromFiles(model, { weights });
      model.dispose();
      return classifier.labels;
    });
    expect(labels).toHaveLength(1000);
    expect(labels[999]).toBe('toilet tissue, toilet paper, bathroom tissue');
  });

  test('a profile has the class that both entries export, with its table', async () => {
    const found = await page.evaluate(async () => {
      const { library, worker } = globalThis as unknown as Globals;
      const blob = await (await fetch('/photos/coffee.png')).blob();
      const look = { resize: 'square', size: 56 } as const;
      const inPage = await library.DINOv2.fromPretrained('/weights/', { selfTest: false });
      const first = await inPage.profile(blob, look);
      inPage.dispose();
      const inWorker = await worker.DINOv2.fromPretrained('/weights/', { selfTest: false });
      const second = await inWorker.profile(blob, look);
      inWorker.dispose();
      const { kernels, total, dispatches } = JSON.parse(JSON.stringify(second)) as typeof second;
      return {
        isProfile: second instanceof worker.Profile && second instanceof library.Profile,
        one: worker.Profile === library.Profile,
        keys: [first, second].map((each) => Object.keys(JSON.parse(JSON.stringify(each)) as object).join()),
        lines: [first, second].map((each) => String(each).split('\n').length - each.kernels.length),
        table: `${second}`,
        same:
          JSON.stringify([kernels, total, dispatches]) ===
          JSON.stringify([second.kernels, second.total, second.dispatches]),
        sum: kernels.reduce((ms, kernel) => ms + kernel.ms, 0) / total.ms,
      };
    });
    expect(found).toMatchObject({ isProfile: true, one: true, same: true, lines: [5, 5] });
    expect(found.keys[1]).toBe(found.keys[0]);
    expect(found.keys[1]).toContain('adapter');
    expect(found.sum).toBeCloseTo(1, 9);
    expect(found.table).toMatch(/^\| kernel \| dispatches \| ms \|/);
    expect(found.table).toMatch(/blocks\.\*\.attn\.qkv.*\n[^]*The whole forward: \d/);
  });

  test('checkSupport and the cache functions', async () => {
    const found = await page.evaluate(async () => {
      const { library, worker } = globalThis as unknown as Globals;
      await library.removeCached();
      const model = await worker.DINOv2.fromPretrained('/weights/', { selfTest: false, persist: true });
      model.dispose();
      const lists = [await worker.listCached(), await library.listCached()];
      const support = [await worker.checkSupport(), await library.checkSupport()];
      return {
        lists,
        support,
        removed: await worker.removeCached('/weights/'),
        left: (await library.listCached()).length,
      };
    });
    expect(found.lists[0]).toMatchObject([{ id: '/weights/', url: `${site.url}/weights/`, complete: true }]);
    expect(found.lists[1]).toEqual(found.lists[0]);
    expect(found.support[0]).toEqual(found.support[1]);
    expect(found).toMatchObject({ removed: 1, left: 0 });
  });
});

describe('errors', () => {
  test('have the same class, code, message and cause', async () => {
    const found = await page.evaluate(async () => {
      const { library, worker } = globalThis as unknown as Globals;
      const describe = (error: unknown): unknown => {
        const { name, message, code, status, cause } = error as Error & { code: string; status?: number };
        return {
          name,
          message,
          code,
          status,
          classes: Object.entries({
            e: library.DINOv2Error,
            s: library.SourceError,
            c: library.ConfigError,
            i: library.ImageError,
            d: library.DeviceError,
            f: library.SafetensorsError,
            o: library.OptionError,
          })
            .filter(([, each]) => error instanceof each)
            .map(([key]) => key),
          cause: cause instanceof Error ? [cause.name, cause.message] : String(cause),
        };
      };
      const failures = async ({
        DINOv2,
        PCA,
      }: Globals['library'] | Globals['worker']): Promise<unknown[]> => {
        const model = (await DINOv2.fromPretrained('/weights/', { selfTest: false })) as unknown as PageModel;
        const features = await model.features(new ImageData(56, 56), { resize: 'square', size: 56 });
        const pca = await (PCA as unknown as Globals['library']['PCA']).fit(features);
        const attempts: (() => Promise<unknown>)[] = [
          () =>
            DINOv2.fromPretrained(`${location.origin}/nothing/`, {
              cache: 'none',
              selfTest: false,
              retry: { attempts: 1 },
            }),
          () => DINOv2.fromPretrained('justaname', { selfTest: false }),
          () =>
            DINOv2.fromPretrained('/weights/', { retry: { attempts: 0 }, cache: 'none', selfTest: false }),
          () => DINOv2.fromFiles({ weights: new Uint8Array(4) }, { selfTest: false }),
          () => DINOv2.fromFiles({ config: '{', weights: new Uint8Array(4) }, { selfTest: false }),
          () => DINOv2.fromFiles({ weights: 3 as never }, { selfTest: false }),
          () => model.features(new Blob(['text'])),
          () => model.features(new ImageData(56, 56), { resize: 'square', size: 0 }),
          () => model.features(document.body as never),
          () => model.features(document.createElement('video')),
          () => model.features(Object.assign(new Image(), { src: 'data:image/png;base64,AAAA' })),
          () => model.features(Object.assign(document.createElement('canvas'), { width: 0 })),
          () => model.features(null as never),
          () => model.features({ data: new Uint8Array(5), width: 1, height: 1 }),
          () => model.features({ data: new Float32Array(4), width: 1, height: 1 } as never),
          () => model.features([]),
          () => model.forward(new Float32Array(4), { height: 14, width: 14 }),
          () => model.forward([1, 2] as never, { height: 14, width: 14 }),
          () => model.embed(new ImageData(56, 56), { pooling: 'max' as never }),
          () => model.describe({ height: 3, width: 3 }),
          () => model.memory({ height: 3, width: 3 }),
          () => model.tune({ sizesPx: [] }),
          () => features.hiddenState(1),
          () => features.attention(0),
          () => pca.rgb(features, { batchIndex: 4 }),
          () => (PCA as unknown as Globals['library']['PCA']).fit([]),
          () => model.embedAll([], { batchSize: 0 }).next(),
          () => model.features(new ImageData(56, 56), { cropsize: 56 } as never),
          () => model.features(new ImageData(56, 56), { onprogress: () => 1 } as never),
          () => model.features(new ImageData(56, 56), null as never),
          () => model.embed(new ImageData(56, 56), 'fit' as never),
          () => model.pixels(new ImageData(56, 56), ['fit'] as never),
          () => model.pixels(new ImageData(56, 56), { signal: new AbortController() as never }),
          () => model.forward(new Float32Array(588), { height: 14, width: 14 }, { layer: [1] } as never),
          () => model.describe({ heigth: 14, width: 14 } as never),
          () => model.tune({ size: 224, sizePx: [224] } as never),
          () => model.embedAll([], { batchsize: 2 } as never).next(),
          () => model.embedAll('photo.png' as never).next(),
          () => features.hiddenState(2, { nrom: true } as never),
          () => features.getIntermediateLayers(1, { reshaped: true } as never),
          () => features.attention(1, { heads: 1 } as never),
          () => pca.rgb(features, { backgroud: 'black' } as never),
          () => DINOv2.fromPretrained('/weights/', { cahce: 'none' } as never),
          () => DINOv2.fromPretrained('/weights/', { cache: 'disk' as never }),
          () => DINOv2.fromFiles({ weights: new Uint8Array(4), cofig: '{}' } as never),
          () => DINOv2.synthetic('small', { register: true } as never),
          () => DINOv2.synthetic('small', { dtype: 'q4' as never, selfTest: false }),
          () => model.embed(new Uint8Array(588)),
          () => model.embed(new ArrayBuffer(3)),
          () => (features.dispose(), features.clsToken()),
          () => (model.dispose(), model.features(new ImageData(56, 56))),
          () => model.embedAll([]).next(),
        ];
        const found: unknown[] = [];
        for (const attempt of attempts)
          found.push(await attempt().then(() => 'nothing was thrown', describe));
        return found;
      };
      return [await failures(library), await failures(worker)];
    });
    expect(found[1]).toEqual(found[0]);
    expect(found[0]!.length).toBe(52);
    expect(found[0]).not.toContain('nothing was thrown');
  });

  test('for values that cannot be sent to a worker', async () => {
    const found = await page.evaluate(async () => {
      const { library, worker } = globalThis as unknown as Globals;
      const model = await worker.DINOv2.fromPretrained('/weights/', { selfTest: false });
      const inPage = await library.DINOv2.fromPretrained('/weights/', { selfTest: false });
      const image = new ImageData(56, 56);
      const features = await inPage.features(image);
      const attempts = [
        () => worker.DINOv2.fromPretrained('/weights/', { device: inPage.device as never }),
        () => model.features(image, { resize: (() => 'crop') as never }),
        () => worker.PCA.fit(features as never),
        () => worker.ImageClassifier.fromFiles(inPage as never, { weights: new Uint8Array(1) }),
        () =>
          worker.DINOv2.fromPretrained('/weights/', {
            cache: 'none',
            selfTest: false,
            onProgress: () => {
              throw new TypeError('mine');
            },
          }),
      ];
      const codes: unknown[] = [];
      for (const attempt of attempts)
        codes.push(
          await attempt().then(
            () => 'nothing',
            (error: Error & { code?: string }) => [
              error instanceof library.DeviceError
                ? 'DeviceError'
                : error instanceof library.ImageError
                  ? 'ImageError'
                  : error.name,
              error.code ?? error.message,
            ],
          ),
        );
      for (const each of [features, inPage, model]) each.dispose();
      return codes;
    });
    expect(found).toEqual([
      ['DeviceError', 'WORKER_OPTION'],
      ['DeviceError', 'WORKER_OPTION'],
      ['OptionError', 'OPTION_VALUE'],
      ['OptionError', 'OPTION_VALUE'],
      ['TypeError', 'mine'],
    ]);
  });

  /** The page handles the progress of the last piece and stays busy until the worker is long finished. */
  test.each(full ? ['thrown', 'an abort'] : ['thrown'])(
    '%s by the page while the result is in transit: the load rejects, makes no more calls, and leaves nothing on the GPU',
    async (how) => {
      const found = await page.evaluate(async (what) => {
        const { worker } = globalThis as unknown as Globals;
        const held = await worker.DINOv2.fromPretrained('/weights/', { selfTest: false });
        const before = await held.gpuBytes;
        const controller = new AbortController();
        let calls = 0;
        let last: number | undefined;
        const error: unknown = await worker.DINOv2.fromPretrained('/weights/', {
          selfTest: false,
          signal: controller.signal,
          onProgress({ loadedTensors, totalTensors }) {
            calls++;
            if (loadedTensors !== totalTensors) return;
            last ??= calls;
            const until = performance.now() + 1500;
            while (performance.now() < until) continue;
            if (what === 'thrown') throw new TypeError('mine');
            controller.abort(new TypeError('mine'));
          },
        }).then(() => 'loaded', String);
        await new Promise((resolve) => setTimeout(resolve, 100));
        const left = (await held.gpuBytes) - before;
        held.dispose();
        return { error, left, more: last === undefined ? 'never complete' : calls - last };
      }, how);
      expect(found).toMatchObject({
        error: 'TypeError: mine',
        left: 0,
        ...(how === 'thrown' ? { more: 0 } : {}),
      });
    },
  );
});

describe('aborts', () => {
  test('in the middle of a load, and of embedAll', async () => {
    // The server holds the weights back until the load has ended, so only the abort can end it.
    let send!: () => void;
    site.held = new Promise((resolve) => (send = resolve));
    const isAsked = (): boolean => site.asked.some((path) => path.endsWith('/model.safetensors'));
    site.asked.length = 0;
    await page.evaluate(() => {
      const { worker } = globalThis as unknown as Globals;
      const reason = { enough: true };
      const controller = new AbortController();
      const load: Promise<unknown> = worker.DINOv2.fromPretrained('/weights/', {
        cache: 'none',
        selfTest: false,
        signal: controller.signal,
      }).catch((error: unknown) => error);
      Object.assign(globalThis, { held: { reason, controller, load } });
    });
    await expect.poll(isAsked).toBe(true);
    const early = await page.evaluate(async () => {
      const { reason, controller, load } = (
        globalThis as unknown as {
          held: { reason: unknown; controller: AbortController; load: Promise<unknown> };
        }
      ).held;
      controller.abort(reason);
      return (await load) === reason;
    });
    send();
    expect(early).toBe(true);
    const found = await page.evaluate(async () => {
      const { worker } = globalThis as unknown as Globals;
      const reason = { enough: true };
      const already: unknown = await worker.DINOv2.fromPretrained('/weights/', {
        signal: AbortSignal.abort(reason),
      }).catch((error: unknown) => error);
      const model = await worker.DINOv2.fromPretrained('/weights/', { cache: 'none', selfTest: false });
      const second = new AbortController();
      let closed = 0;
      let taken = 0;
      function* images(): Generator<ImageData> {
        try {
          for (;;) {
            taken++;
            yield new ImageData(56, 56);
          }
        } finally {
          closed++;
        }
      }
      let results = 0;
      let thrown: unknown;
      try {
        for await (const { embedding } of model.embedAll(images(), {
          signal: second.signal,
          batchSize: 2,
          resize: 'square',
          size: 56,
        }))
          if (embedding && ++results === 5) second.abort(reason);
      } catch (error) {
        thrown = error;
      }
      for await (const _ of model.embedAll(images(), { batchSize: 2, resize: 'square', size: 56 })) break; // leave the loop early
      const whole = await model.embed(new ImageData(56, 56), { resize: 'square', size: 56 });
      await new Promise((resolve) => setTimeout(resolve, 200));
      const bytes = await model.gpuBytes;
      model.dispose();
      return {
        already: already === reason,
        thrown: thrown === reason,
        results,
        closed,
        few: taken < 30,
        length: whole.length,
        bytes,
      };
    });
    expect(found).toMatchObject({
      already: true,
      thrown: true,
      results: 5,
      closed: 2,
      few: true,
      length: 128,
    });
  });
});

describe('the worker', () => {
  test('ends when all its objects are disposed of', async () => {
    await expect.poll(workers).toBe(1);
    await page.evaluate(() =>
      (globalThis as unknown as { keepers: { dispose(): void }[] }).keepers.forEach((each) => each.dispose()),
    );
    await noWorkers();
  });

  test('is shared by all models or owned by one, ends with the last object, and frees disposed objects', async () => {
    const found = await page.evaluate(async () => {
      const { worker } = globalThis as unknown as Globals;
      const load = (options = {}): Promise<WorkerModel> =>
        worker.DINOv2.fromPretrained('/weights/', { selfTest: false, ...options });
      const first = await load();
      const alone = await first.gpuBytes;
      const second = await load();
      const both = await first.gpuBytes;
      const own = await load({ worker: 'own' });
      const ownBytes = await own.gpuBytes;
      Object.assign(globalThis, { kept: { first, second, own } });
      return { alone, both, ownBytes };
    });
    await expect.poll(workers).toBe(2);
    expect(found.both).toBe(2 * found.alone);
    expect(found.ownBytes).toBe(found.alone);
    const after = await page.evaluate(async () => {
      const { first, second, own } = (globalThis as unknown as { kept: Record<string, WorkerModel> }).kept;
      own!.dispose();
      second!.dispose();
      second!.dispose();
      const features = await first!.features(new ImageData(56, 56), { resize: 'square', size: 56 });
      const withFeatures = await first!.gpuBytes;
      features.dispose();
      const without = await first!.gpuBytes;
      const kept = await first!.features(new ImageData(56, 56), { resize: 'square', size: 56 });
      first!.dispose();
      await new Promise((resolve) => setTimeout(resolve, 2000));
      const cls = (await kept.clsToken()).length; // features outlive their model and keep the worker running
      kept.dispose();
      return { freed: withFeatures - without, cls };
    });
    expect(after).toEqual({ freed: 17 * 128 * 4, cls: 128 });
    await noWorkers();
    expect(
      await page.evaluate(async () =>
        (globalThis as unknown as { kept: Record<string, WorkerModel> }).kept['first']!.describe().catch(
          ({ code }: { code: string }) => code,
        ),
      ),
    ).toBe('DISPOSED');
  });

  // Each case loads two models and computes. `npm test` runs one case, .ci/run runs all.
  const sabotages: readonly (readonly [string, string, RegExp])[] = [
    ['throw', 'WORKER_LOST', /^The worker failed: .*sabotaged/],
    ['end', 'WORKER_LOST', /^The worker has ended/],
    ['lose the device', 'DEVICE_LOST', /^The GPU device was lost/],
  ];
  test.each(full ? sabotages : sabotages.slice(1, 2))(
    'that is told to %s: all pending calls reject, and the next load works',
    async (what, code, message) => {
      const found = await page.evaluate(async (order) => {
        const { worker } = globalThis as unknown as Globals;
        const options = { selfTest: false, workerUrl: '/sabotage.js', cache: 'none' } as const;
        const model = await worker.DINOv2.fromPretrained('/weights/', options);
        const channel = new BroadcastChannel('sabotage');
        const ready = new Promise((resolve) => (channel.onmessage = resolve));
        channel.postMessage(order);
        await ready;
        const waiting = [
          model.embed(Array.from({ length: 64 }, () => new ImageData(224, 224))),
          model.features(Array.from({ length: 64 }, () => new ImageData(224, 224))),
          (async () => {
            for await (const _ of model.embedAll(
              (function* () {
                for (;;) yield new ImageData(224, 224);
              })(),
            ))
              continue;
          })(),
        ].map((each) =>
          each.then(
            () => ({ code: 'nothing', message: '', ours: false }),
            (error: Error & { code: string }) => ({
              code: error.code,
              message: error.message,
              ours: error instanceof worker.DeviceError,
            }),
          ),
        );
        const errors = await Promise.all(waiting);
        const later = await model.features(new ImageData(56, 56)).then(
          (features) => {
            features.dispose(); // the worker ends when the page holds nothing in it
            return 'nothing';
          },
          (error: { code: string }) => error.code,
        );
        model.dispose();
        const again = await worker.DINOv2.fromPretrained('/weights/', options);
        const { length } = await again.embed(new ImageData(56, 56));
        again.dispose();
        return { errors, later, length };
      }, what);
      for (const error of found.errors)
        expect(error).toMatchObject({ code, ours: true, message: expect.stringMatching(message) as string });
      // After the loss of the device, the model recovers in the next call.
      expect(found).toMatchObject({ later: code === 'DEVICE_LOST' ? 'nothing' : code, length: 128 });
      await noWorkers();
    },
  );

  test('that cannot start: the error says why', async () => {
    const found = await page.evaluate(async () => {
      const { worker } = globalThis as unknown as Globals;
      const errors: unknown[] = [];
      for (const workerUrl of [
        '/missing.js',
        '/other-version.js',
        'https://example.org/worker-thread.js',
        '/fixtures/pixels/README.md',
      ]) {
        errors.push(
          await worker.DINOv2.fromPretrained('/weights/', { workerUrl }).then(
            () => 'loaded',
            ({ code, message }: Error & { code: string }) => [code, message],
          ),
        );
      }
      return { errors, support: await worker.checkSupport({ workerUrl: '/missing.js' }) };
    });
    for (const error of found.errors)
      expect(error).toEqual([
        'WORKER_LOST',
        expect.stringMatching(/^The worker could not be started: expected worker-thread.js .*workerUrl/),
      ]);
    expect(found.errors[1]).toEqual(['WORKER_LOST', expect.stringContaining('protocol 0 instead of 7')]);
    expect(found.support).toMatchObject({ ok: false, code: 'WORKER_LOST' });
  });
});

describe('a Content-Security-Policy', () => {
  test("of 'self' is enough, for the worker script beside the library and at workerUrl", async () => {
    const strict = await site.open('/strict/');
    const complaints: string[] = [];
    strict.on('console', (message) => {
      const isAbsent = message.location().url.endsWith('/preprocessor_config.json');
      if (message.type() === 'error' && !isAbsent) complaints.push(message.text());
    });
    // Each worker script compiles everything again. All other tests use the one beside the library, so only
    // .ci/run tests both.
    for (const workerUrl of full ? [undefined, '/copy/worker-thread.js'] : ['/copy/worker-thread.js']) {
      const cls = await strict.evaluate(async (url) => {
        const { worker } = globalThis as unknown as Globals;
        const model = await worker.DINOv2.fromPretrained('/weights/', { workerUrl: url, selfTest: false });
        const blob = await (await fetch('/photos/rocket.jpg')).blob();
        const { length } = await model.embed(blob);
        model.dispose();
        return length;
      }, workerUrl);
      expect(cls).toBe(128);
    }
    expect(site.asked).toContain('/copy/worker-thread.js');
    expect(complaints).toEqual([]);
    await strict.context().close();
  });

  test('that forbids WebAssembly gives the same bits, only slower', async () => {
    const results = new Map<string, { cls: number[]; complaints: string[] }>();
    for (const folder of full ? ['/strict/', '/strict-but-wasm/'] : ['/strict/']) {
      const strict = await site.open(folder);
      const complaints: string[] = [];
      strict.on('console', (message) => {
        // The browser logs the missing preprocessor_config.json, which is not an error here.
        const isAbsent = message.location().url.endsWith('/preprocessor_config.json');
        if (message.type() === 'error' && !isAbsent) complaints.push(message.text());
      });
      const cls = await strict.evaluate(async () => {
        const { library } = globalThis as unknown as Globals;
        const model = await library.DINOv2.fromPretrained('/weights/', { selfTest: false });
        const vector = await model.embed(await (await fetch('/photos/rocket.jpg')).blob());
        model.dispose();
        return [...vector];
      });
      results.set(folder, { cls, complaints });
      await strict.context().close();
    }
    const forbidden = results.get('/strict/')!;
    if (full) expect(results.get('/strict-but-wasm/')).toEqual({ cls: rocket, complaints: [] });
    for (const complaint of forbidden.complaints) expect(complaint).toMatch(/WebAssembly/);
    expect(forbidden.complaints.length).toBeLessThanOrEqual(1);
    expect(forbidden.cls).toHaveLength(128);
    expect(forbidden.cls).toEqual(rocket);
  });

  test('with Trusted Types and no default policy: a TrustedScriptURL starts the worker, a text does not', async () => {
    const trusted = await site.open('/trusted/');
    const found = await trusted.evaluate(async () => {
      const { worker } = globalThis as unknown as Globals;
      const { trustedTypes } = globalThis as unknown as {
        trustedTypes: {
          createPolicy: (
            name: string,
            rules: { createScriptURL: (url: string) => string },
          ) => { createScriptURL: (url: string) => URL };
        };
      };
      const policy = trustedTypes.createPolicy('worker', {
        createScriptURL: (url) => {
          if (url !== '/copy/worker-thread.js') throw new TypeError(`not allowed: ${url}`);
          return url;
        },
      });
      const codeOf = ({ code, message }: Error & { code: string }): string[] => [code, message];
      const refused = [];
      for (const workerUrl of [undefined, '/copy/worker-thread.js'])
        refused.push(await worker.DINOv2.fromPretrained('/weights/', { workerUrl }).then(() => [], codeOf));
      const workerUrl = policy.createScriptURL('/copy/worker-thread.js');
      const model = await worker.DINOv2.fromPretrained('/weights/', { workerUrl, dtype: 'fp32' });
      const [support, health, report] = [
        await worker.checkSupport({ workerUrl }),
        await model.health(),
        await model.report(),
      ];
      model.dispose();
      return { refused, support: support.ok, health, report, loaded: model.loaded };
    });
    for (const [code, message] of found.refused) {
      expect(code).toBe('WORKER_LOST');
      expect(message).toMatch(/found TypeError: .*TrustedScriptURL/);
      expect(message).toContain('Trusted Types: workerUrl');
    }
    expect(found.refused).toHaveLength(2);
    expect(found.support).toBe(true);
    expect(found.health).toMatchObject({ selfTest: 'passed', dtype: 'fp32', rejected: [], losses: [] });
    expect(found.report).toMatch(/^- Library: dinov2-webgpu \d+\.\d+\.\d+, in a worker\n- Browser: Mozilla/);
    expect(found.report).toMatch(/\n- Forward: \d+ × \d+: [\d.]+(, [\d.]+)* ms(; ended after 5 s)?$/);
    expect(found.report).not.toMatch(/127\.0\.0\.1|worker-thread|weights\//);
    await trusted.context().close();
  });

  test('that forbids workers is an error that says what to allow', async () => {
    const page2 = await site.open('/no-workers/');
    const error = await page2.evaluate(async () =>
      (globalThis as unknown as Globals).worker.DINOv2.fromPretrained('/weights/').then(
        () => 'loaded',
        ({ code, message }: Error & { code: string }) => [code, message],
      ),
    );
    expect(error).toEqual(['WORKER_LOST', expect.stringMatching(/a policy forbids it \(worker-src/)]);
    await page2.context().close();
  });
});
