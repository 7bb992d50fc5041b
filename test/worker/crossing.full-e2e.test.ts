// Failures and aborts across the page and its worker: every promise must settle, and every lent resource must
// be released.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Page } from 'playwright';
import { openWorkerSite, type Globals, type PageModel, type WorkerModel, type WorkerSite } from './site.ts';

/** The outcome of a promise within a minute: its value, the code or text of its error, or 'never settled'. */
type Within = (promise: Promise<unknown>) => Promise<unknown>;
type TestGlobals = Globals & { readonly within: Within };

let site: WorkerSite;
let page: Page;
const unhandled: string[] = [];
beforeAll(async () => {
  site = await openWorkerSite();
  page = await site.open();
  page.on('pageerror', (error) => unhandled.push(String(error)));
  await page.evaluate(async () => {
    const within: Within = (promise) =>
      Promise.race([
        promise.then(
          (value) => (typeof value === 'object' ? 'done' : value),
          (error: (Error & { code?: string }) | string) =>
            typeof error === 'string' ? error : (error.code ?? String(error)),
        ),
        new Promise((resolve) => setTimeout(resolve, 60_000, 'never settled')),
      ]);
    const { library, worker } = globalThis as unknown as Globals;
    // One model on each side stays loaded, to keep its device and compiled pipelines.
    const keepers = [
      await library.DINOv2.fromPretrained('/weights/', { selfTest: false }),
      await worker.DINOv2.fromPretrained('/weights/', { selfTest: false }),
    ];
    Object.assign(globalThis, { within, keepers });
  });
});
afterAll(() => site.close());

test('an abort does not wait for a worker that does not start', async () => {
  const found = await page.evaluate(() => {
    const { worker, within } = globalThis as unknown as TestGlobals;
    const controller = new AbortController();
    setTimeout(() => controller.abort('enough'), 100);
    return within(
      worker.DINOv2.fromPretrained('/weights/', { workerUrl: '/never-ready.js', signal: controller.signal }),
    );
  });
  expect(found).toBe('enough');
});

test('a worker without access to locks still starts', async () => {
  const found = await page.evaluate(() => {
    const { worker, within } = globalThis as unknown as TestGlobals;
    return within(worker.listCached({ workerUrl: '/no-locks.js' }).then(() => 'listed'));
  });
  expect(found).toBe('listed');
});

test('a stream is cancelled after an abort or an error, and stays unlocked if it was never read, as without a worker', async () => {
  const found = await page.evaluate(async () => {
    const { worker, library, within } = globalThis as unknown as TestGlobals;
    const bytes = new Uint8Array(await (await fetch('/weights/model.safetensors')).arrayBuffer());
    const config = await (await fetch('/weights/config.json')).text();
    const streamOf = (log: string[]): ReadableStream<Uint8Array> => {
      let at = 0;
      return new ReadableStream({
        pull(controller) {
          if (at >= 600_000) return new Promise(() => undefined);
          controller.enqueue(bytes.slice(at, (at += 100_000)));
          return undefined;
        },
        cancel: (reason) => void log.push(String(reason)),
      });
    };
    const results: unknown[][] = [];
    for (const { DINOv2 } of [library, worker] as Globals['library'][]) {
      const seen: unknown[] = [];
      for (const how of ['abort', 'throw']) {
        const log: string[] = [];
        const controller = new AbortController();
        const onProgress = ({ loadedBytes }: { loadedBytes: number }): void => {
          if (loadedBytes < 300_000) return;
          if (how === 'throw') throw new TypeError('mine');
          controller.abort('enough');
        };
        seen.push(
          await within(
            DINOv2.fromFiles(
              { config, weights: streamOf(log) },
              { selfTest: false, signal: controller.signal, onProgress },
            ),
          ),
          log,
        );
      }
      for (const [text, signal] of [
        [config, AbortSignal.abort('before')],
        ['{', undefined],
      ] as const) {
        const untouched = streamOf([]);
        seen.push(
          await within(DINOv2.fromFiles({ config: text, weights: untouched }, { selfTest: false, signal })),
          untouched.locked,
        );
      }
      results.push(seen);
    }
    return results;
  });
  expect(found[0]).toEqual([
    'enough',
    ['enough'],
    'TypeError: mine',
    ['TypeError: mine'],
    'before',
    false,
    'CONFIG_JSON',
    false,
  ]);
  expect(found[1]).toEqual(found[0]);
});

test('when a worker ends, the page cancels its requests, response bodies, streams and iterables', async () => {
  const found = await page.evaluate(async () => {
    const { worker, within } = globalThis as unknown as TestGlobals;
    const config = await (await fetch('/weights/config.json')).text();
    const options = { selfTest: false, workerUrl: '/ending.js', cache: 'none' } as const;
    const model = await worker.DINOv2.fromPretrained('/weights/', options);
    const log: string[] = [];
    const begun = new Set<string>();
    /** Starts a request or read that never completes. */
    const begin = (what: string): Promise<never> => {
      begun.add(what);
      return new Promise(() => undefined);
    };
    const silent = (what: string): ReadableStream<Uint8Array> =>
      new ReadableStream(
        { pull: () => begin(what), cancel: () => void log.push(what) },
        { highWaterMark: 0 },
      );
    function* images(): Generator<ImageData> {
      try {
        for (;;) {
          void begin('iterable');
          yield new ImageData(56, 56);
        }
      } finally {
        log.push('iterable');
      }
    }
    const all = async (): Promise<void> => {
      for await (const _ of model.embedAll(images())) continue;
    };
    const answer: typeof fetch = async (input, init) =>
      String(input).endsWith('config.json') ? fetch(input, init) : new Response(silent('answer'));
    const request: typeof fetch = (_, init) => {
      init!.signal!.addEventListener('abort', () => log.push('request'));
      return begin('request');
    };
    const loads = [
      worker.DINOv2.fromPretrained('/weights/', { ...options, fetch: request }),
      worker.DINOv2.fromPretrained('/weights/', { ...options, fetch: answer }),
      worker.DINOv2.fromFiles(
        { config, weights: silent('stream') },
        { selfTest: false, workerUrl: '/ending.js' },
      ),
      all(),
    ].map(within);
    while (begun.size < 4) await new Promise((resolve) => setTimeout(resolve, 20));
    new BroadcastChannel('ending').postMessage('now');
    const results = await Promise.all(loads);
    await new Promise((resolve) => setTimeout(resolve, 50));
    model.dispose();
    return { results: [...new Set(results)], log: log.sort() };
  });
  // config.json and preprocessor_config.json are requested in parallel.
  const log = ['answer', 'iterable', 'request', 'request', 'stream'];
  expect(found).toEqual({ results: ['WORKER_LOST'], log });
});

test('no load waits for the answer to persist()', async () => {
  const found = await page.evaluate(async () => {
    const { worker, within } = globalThis as unknown as TestGlobals;
    const { persist } = StorageManager.prototype;
    const results: unknown[] = [];
    for (const stub of [
      () => new Promise<boolean>(() => undefined),
      async () => Promise.reject(new TypeError('no')),
    ]) {
      StorageManager.prototype.persist = stub;
      results.push(
        await within(
          worker.DINOv2.fromPretrained('/weights/', { selfTest: false, persist: true }).then(
            (model) => (model.dispose(), 'loaded'),
          ),
        ),
      );
    }
    StorageManager.prototype.persist = persist;
    return results;
  });
  expect(found).toEqual(['loaded', 'loaded']);
});

test('ImageBitmap copies are closed, also those unsent or in transit when the loop ends; unreferenced classifiers are freed', async () => {
  const session = await page.context().newCDPSession(page);
  const found = await page.evaluate(async () => {
    const { worker, within } = globalThis as unknown as TestGlobals;
    const made: ImageBitmap[] = [];
    const clone = globalThis.structuredClone;
    globalThis.structuredClone = ((value: unknown, options?: StructuredSerializeOptions): unknown => {
      const result: unknown = clone(value, options);
      if (result instanceof ImageBitmap) made.push(result);
      return result;
    }) as typeof structuredClone;
    const model = await worker.DINOv2.fromPretrained('/weights/', {
      selfTest: false,
      workerUrl: '/counting.js',
    });
    const options = { resize: 'square', size: 56 } as const;
    await model.embed(await createImageBitmap(new ImageData(56, 56)), options);
    // Aborts while another image of the list is being decoded.
    const canvas = Object.assign(document.createElement('canvas'), { width: 56, height: 56 });
    canvas.getContext('2d');
    const slow = Object.assign(new Image(), {
      decode: () => new Promise((_, reject) => setTimeout(reject, 200, new Error('slow'))),
    });
    const controller = new AbortController();
    setTimeout(() => controller.abort('enough'), 50);
    const aborted = await within(model.embed([canvas, slow], { signal: controller.signal }));
    await new Promise((resolve) => setTimeout(resolve, 300));
    let asked = 0;
    async function* images(): AsyncGenerator<ImageBitmap> {
      for (;;) {
        if (++asked === 4) await new Promise((resolve) => setTimeout(resolve, 600));
        yield createImageBitmap(new ImageData(56, 56));
      }
    }
    for await (const _ of model.embedAll(images(), { ...options, batchSize: 2 })) break;
    globalThis.structuredClone = clone;
    const json = JSON.stringify({
      'linear.weight': { dtype: 'F32', shape: [1, 256], data_offsets: [0, 1024] },
      'linear.bias': { dtype: 'F32', shape: [1], data_offsets: [1024, 1028] },
    });
    const padded = json.padEnd(Math.ceil(json.length / 8) * 8);
    const head = new Blob([new BigUint64Array([BigInt(padded.length)]), padded, new Float32Array(257)]);
    for (let i = 0; i < 3; i++) await worker.ImageClassifier.fromFiles(model, { weights: head });
    Object.assign(globalThis, { held: model });
    const open = (): number => made.filter(({ width }) => width > 0).length;
    for (let turn = 0; turn < 1500 && open() > 0; turn++)
      await new Promise((resolve) => setTimeout(resolve, 20));
    return { made: made.length, open: open(), aborted };
  });
  expect(found).toEqual({ made: expect.any(Number) as number, open: 0, aborted: 'enough' });
  expect(found.made).toBeGreaterThanOrEqual(2);
  const count = async (): Promise<unknown> => {
    await session.send('HeapProfiler.collectGarbage');
    return page.evaluate(async () => {
      const counted = new Promise(
        (resolve) => (new BroadcastChannel('counted').onmessage = ({ data }) => resolve(data)),
      );
      new BroadcastChannel('count').postMessage('count');
      return counted;
    });
  };
  await expect.poll(count).toMatchObject({ open: 0, classifiers: 0 });
  await page.evaluate(() => (globalThis as unknown as { held: WorkerModel }).held.dispose());
});

test('an iterable can throw an object without a prototype, and the caller gets the same object', async () => {
  const found = await page.evaluate(async () => {
    const { worker, within } = globalThis as unknown as TestGlobals;
    const model = await worker.DINOv2.fromPretrained('/weights/', { selfTest: false });
    const thing = Object.create(null) as object;
    const next = (): never => {
      throw thing as Error;
    };
    const run = async (): Promise<void> => {
      for await (const _ of model.embedAll({ [Symbol.iterator]: () => ({ next }) })) continue;
    };
    const same = await within(
      run().then(
        () => 'done',
        (error: unknown) => error === thing,
      ),
    );
    model.dispose();
    return same;
  });
  expect(found).toBe(true);
});

test('a worker script that is another module is an error, at once or after a minute', async () => {
  const other = await page.context().newPage();
  await other.clock.install();
  await other.goto(`${site.url}/`);
  await other.waitForFunction(() => 'worker' in globalThis);
  const errors = await other.evaluate(async () => {
    const { worker } = globalThis as unknown as Globals;
    const ask = (workerUrl: string): Promise<unknown> =>
      worker.listCached({ workerUrl }).then(
        () => 'listed',
        ({ code, message }: Error & { code: string }) => [code, message],
      );
    Object.assign(globalThis, { silent: ask('/never-ready.js') });
    return [await ask('/another.js'), await worker.checkSupport({ workerUrl: '/another.js' })];
  });
  expect(errors).toEqual([
    ['WORKER_LOST', expect.stringMatching(/^The worker could not be started: .*found another script\./)],
    expect.objectContaining({ ok: false, code: 'WORKER_LOST' }),
  ]);
  // A frozen page runs each timer once when it goes on. Only time in which it ran counts, at least half a minute.
  await other.clock.fastForward(3_600_000);
  const isSettled = (): Promise<unknown> =>
    other.evaluate(() =>
      Promise.race([
        (globalThis as unknown as { silent: Promise<unknown> }).silent,
        Promise.resolve('not settled'),
      ]),
    );
  expect(await isSettled()).toBe('not settled');
  await other.clock.runFor(29_000);
  expect(await isSettled()).toBe('not settled');
  await other.clock.runFor(2_000);
  expect(await isSettled()).toEqual(['WORKER_LOST', expect.stringContaining('sent no message in 60 s')]);
  await other.close();
});

test('a message that the worker cannot deserialize fails only its own call', async () => {
  const found = await page.evaluate(async () => {
    const { worker, within } = globalThis as unknown as TestGlobals;
    const certificate = await RTCPeerConnection.generateCertificate({
      name: 'ECDSA',
      namedCurve: 'P-256',
    } as EcKeyGenParams); // can be posted, but workers cannot deserialize it
    const model = await worker.DINOv2.fromPretrained('/weights/', { selfTest: false, worker: 'own' });
    const before = model.embed(Array.from({ length: 16 }, () => new ImageData(224, 224)));
    const unreadable = within(model.embed(new ImageData(56, 56), { certificate } as object));
    const after = model.embed([new ImageData(56, 56)]);
    const results = [(await before).length, await unreadable, (await after).length];
    // Now the same for a response of the page, here an image of the iterable.
    const { postMessage } = Worker.prototype;
    let answers = 0;
    Worker.prototype.postMessage = function (this: Worker, message: unknown, transfer?: unknown): void {
      const isThird = (message as { kind: string }).kind === 'answer' && ++answers === 3;
      const sent = isThird ? { ...(message as object), value: certificate } : message;
      postMessage.call(this, sent, transfer as StructuredSerializeOptions);
    };
    const embedAll = async (): Promise<number> => {
      let count = 0;
      const images = Array.from({ length: 4 }, () => new ImageData(56, 56));
      for await (const { embedding } of model.embedAll(images)) count += embedding ? 1 : 0;
      return count;
    };
    results.push(await within(embedAll()));
    Worker.prototype.postMessage = postMessage;
    results.push(await within(embedAll()), (await model.embed(new ImageData(56, 56))).length);
    model.dispose();
    return results;
  });
  expect(found).toEqual([16, 'WORKER_OPTION', 1, 'WORKER_OPTION', 4, 128]);
});

test('an error during dispose() is logged, and other models keep working; the worker defines no document', async () => {
  const told: string[] = [];
  const listen = (message: { text(): string }): void => void told.push(message.text());
  page.on('console', listen);
  const found = await page.evaluate(async () => {
    const { worker } = globalThis as unknown as Globals;
    const options = { selfTest: false, workerUrl: '/failing-dispose.js' } as const;
    const model = await worker.DINOv2.fromPretrained('/weights/', options);
    const features = await model.features(new ImageData(56, 56));
    const channel = new BroadcastChannel('failing');
    const told = new Promise((resolve) => (channel.onmessage = ({ data }) => resolve(data)));
    channel.postMessage('now');
    const documentType = await told;
    features.dispose();
    const { length } = await model.fingerprint();
    model.dispose();
    return { length, documentType };
  });
  page.off('console', listen);
  // Relative URLs resolve against the page. The worker defines no `document` for that, because other code
  // could mistake the worker for a page.
  expect(found).toEqual({ length: 64, documentType: 'undefined' });
  expect(told.join('\n')).toMatch(/sabotaged/);
});

test('an unreferenced model is freed after garbage collection, but not before its running calls end', async () => {
  const session = await page.context().newCDPSession(page);
  await page.evaluate(async () => {
    const { worker } = globalThis as unknown as Globals;
    const held = await worker.DINOv2.fromPretrained('/weights/', { selfTest: false });
    const before = await held.gpuBytes;
    const running = (await worker.DINOv2.fromPretrained('/weights/', { selfTest: false })).embed(
      Array.from({ length: 24 }, () => new ImageData(224, 224)),
    );
    Object.assign(globalThis, { held, before, running: running.then(({ length }) => length, String) });
  });
  for (let turn = 0; turn < 5; turn++) {
    await session.send('HeapProfiler.collectGarbage');
    await page.waitForTimeout(50);
  }
  expect(await page.evaluate(() => (globalThis as unknown as { running: Promise<unknown> }).running)).toBe(
    24,
  );
  await expect
    .poll(async () => {
      await session.send('HeapProfiler.collectGarbage');
      return page.evaluate(async () => {
        const { held, before } = globalThis as unknown as { held: WorkerModel; before: number };
        return (await held.gpuBytes) - before;
      });
    })
    .toBe(0);
  await page.evaluate(() => (globalThis as unknown as { held: WorkerModel }).held.dispose());
});

test('pixels are copied at the call: later changes by the caller have no effect', async () => {
  const found = await page.evaluate(async () => {
    const { library, worker } = globalThis as unknown as Globals;
    const results: boolean[] = [];
    for (const entry of [library, worker]) {
      const model = (await entry.DINOv2.fromPretrained('/weights/', {
        selfTest: false,
      })) as unknown as PageModel;
      const image = new ImageData(56, 56);
      const raw = { data: image.data, width: 56, height: 56 };
      for (const each of [image, raw]) {
        image.data.fill(255);
        const white = String(await model.embed(each));
        const running = model.embed(each);
        image.data.fill(0);
        results.push(String(await running) === white);
      }
      model.dispose();
    }
    return results;
  });
  expect(found).toEqual([true, true, true, true]);
});

test("pixels whose slice() does not copy, like a Buffer's, remain usable by the caller: twice in one list, and again", async () => {
  const found = await page.evaluate(async () => {
    const { worker } = globalThis as unknown as Globals;
    class Shared extends Uint8Array {
      override slice(begin?: number, end?: number): Shared {
        return this.subarray(begin, end) as Shared;
      }
    }
    const model = await worker.DINOv2.fromPretrained('/weights/', { selfTest: false });
    const raw = { data: new Shared(56 * 56 * 4).fill(128), width: 56, height: 56 };
    const [first, second] = await model.embed([raw, raw]);
    const again = await model.embed(raw);
    model.dispose();
    return {
      bytes: raw.data.length,
      same: String(first) === String(second) && String(first) === String(again),
    };
  });
  expect(found).toEqual({ bytes: 56 * 56 * 4, same: true });
});

test('there was no unhandled rejection', () => {
  expect(unhandled).toEqual([]);
});
