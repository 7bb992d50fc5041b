// Page side of the Firefox tests: actions that the tests call by name.
import { syntheticTensor } from '../../src/weights/synthetic.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import type { OperandType, WeightStorage } from '../../src/gpu/kernels/kernel.ts';
import { EVERY_TILE } from '../../src/gpu/kernels/tunedKernels.ts';
import { targetOf } from '../../src/gpu/lowering.ts';
import { selfTest } from '../../src/gpu/checks/selfTest.ts';
import {
  checkSupport,
  DINOv2,
  listCached,
  removeCached,
  type CachedModel,
  type Dtype,
  type LoadReport,
  type Support,
} from '../../src/index.ts';
import { deleteIndex, EmbeddingIndex, listIndexes } from '../../src/search.ts';
import { asGpu, everyNode, requestDevice, tiny } from '../gpu/tiny.ts';
import { padded } from '../loading/padded.ts';
import { checkpointBytes, massiveModel } from '../model/dtypeCases.ts';
import {
  avifsThatDiffer,
  awkwardFilesThatDiffer,
  blobsThatFail,
  filesThatDiffer,
  largeThatDiffer,
  photographsThatDiffer,
  pngsThatDiffer,
  sizesThatDiffer,
  type Differing,
} from './pixels.ts';
import { loadForward, timeReads } from './read.ts';

let forward: Awaited<ReturnType<typeof loadForward>> | undefined;

/** Answers a request for a file as a server with range support does. */
function answer(file: Uint8Array<ArrayBuffer>, init: RequestInit | undefined): Response {
  const [, begin, end] = /bytes=(\d+)-(\d*)/.exec(new Headers(init?.headers).get('range') ?? '') ?? [];
  const [from, to] = [Number(begin ?? 0), end ? Math.min(Number(end) + 1, file.length) : file.length];
  const headers = { etag: '"one"', 'content-range': `bytes ${from}-${to - 1}/${file.length}` };
  return new Response(file.slice(from, to), { status: begin === undefined ? 200 : 206, headers });
}

const pageActions = {
  support: (): Promise<Support> => checkSupport(),

  /** Last hidden state of a tiny model at 56 × 98, batch 2. */
  async tiny(kind: string): Promise<number[]> {
    using model = await DINOv2.fromPretrained(
      new URL(`/test/fixtures/reference/tiny-${kind}/`, location.origin),
    );
    using features = await model.forward(syntheticTensor('pixel_values.56x98', [2, 3, 56, 98]), {
      height: 56,
      width: 98,
      batch: 2,
    });
    return [...(await features.lastHiddenState())];
  },

  /** Last hidden state of ViT-S at 224 × 224, and the time of a warm forward. */
  async small(): Promise<{ values: number[]; ms: number }> {
    using model = await DINOv2.synthetic('small');
    const pixels = syntheticTensor('pixel_values.224x224', [1, 3, 224, 224]);
    using first = await model.forward(pixels, { height: 224, width: 224 }); // warm-up: drivers compile at the first run
    await first.clsToken();
    const startMs = performance.now();
    using features = await model.forward(pixels, { height: 224, width: 224 });
    const values = [...(await features.lastHiddenState())];
    return { values, ms: performance.now() - startMs };
  },

  /**
   * Last hidden state of a tiny model (56 × 98, batch 2) or of ViT-S (224 × 224) in the given dtype, and the
   * reason for the chosen dtype.
   */
  async stored(
    kind: string,
    dtype: 'auto' | Dtype,
  ): Promise<{ values: number[]; dtype: Dtype; reason: string }> {
    const tiny = kind !== 'small';
    using model = await (tiny
      ? DINOv2.fromPretrained(new URL(`/test/fixtures/reference/tiny-${kind}/`, location.origin), { dtype })
      : DINOv2.synthetic('small', { dtype }));
    const [height, width, batch] = tiny ? [56, 98, 2] : [224, 224, 1];
    using features = await model.forward(
      syntheticTensor(`pixel_values.${height}x${width}`, [batch, 3, height, width]),
      { height, width, batch },
    );
    return { values: [...(await features.lastHiddenState())], dtype: model.dtype, reason: model.dtypeReason };
  },

  /**
   * Last hidden state of a tiny model (56 × 98, batch 2), computed with the kernels for real GPUs.
   * Software adapters otherwise get other kernels, so naga would not compile these.
   */
  async asOnGpu(kind: string): Promise<number[]> {
    const device = asGpu(await requestDevice());
    try {
      using model = await DINOv2.fromPretrained(
        new URL(`/test/fixtures/reference/tiny-${kind}/`, location.origin),
        { device },
      );
      using features = await model.forward(syntheticTensor('pixel_values.56x98', [2, 3, 56, 98]), {
        height: 56,
        width: 98,
        batch: 2,
      });
      return [...(await features.lastHiddenState())];
    } finally {
      device.destroy();
    }
  },

  /**
   * Runs the self-test for every tile of the kernels for real GPUs. Returns whether all interchangeable
   * kernels give the same bits.
   * @throws DeviceError if a kernel is wrong
   */
  async everyTile(weights: WeightStorage, operands: OperandType): Promise<boolean> {
    const device = asGpu(await requestDevice(weights === 'f16' ? ['shader-f16'] : []));
    try {
      const gpu = await acquireGpu(device);
      await selfTest(gpu, everyNode(tiny), { ...targetOf(gpu, weights), ...EVERY_TILE, operands });
      return gpu.alternativesAgree;
    } finally {
      device.destroy();
    }
  },

  /**
   * Last hidden state of a tiny model (56 × 98, batch 2) on a device without shader-f16, where f16 weights
   * are packed into u32.
   */
  async packed(kind: string): Promise<{ values: number[]; reason: string }> {
    const device = await requestDevice();
    try {
      using model = await DINOv2.fromPretrained(
        new URL(`/test/fixtures/reference/tiny-${kind}/`, location.origin),
        { dtype: 'fp16', device },
      );
      using features = await model.forward(syntheticTensor('pixel_values.56x98', [2, 3, 56, 98]), {
        height: 56,
        width: 98,
        batch: 2,
      });
      return { values: [...(await features.lastHiddenState())], reason: model.dtypeReason };
    } finally {
      device.destroy();
    }
  },

  /**
   * Output of the last block and last hidden state of a tiny model with massive activations (56 × 98, batch
   * 2).
   */
  async massive(
    kind: 'plain' | 'registers' | 'swiglu',
    dtype: Dtype,
  ): Promise<{ residual: number[]; last: number[] }> {
    const { config, edits } = massiveModel(kind);
    using model = await DINOv2.fromFiles({ weights: checkpointBytes(config, edits) }, { dtype });
    using features = await model.forward(
      syntheticTensor('pixel_values.56x98', [2, 3, 56, 98]),
      { height: 56, width: 98, batch: 2 },
      { layers: [4] },
    );
    return { residual: [...(await features.hiddenState(4))], last: [...(await features.lastHiddenState())] };
  },

  /**
   * Loads a tiny model from the network, again from the cache without a network, and once more after an
   * interrupted download.
   */
  async kept(cache: 'opfs' | 'cache-api'): Promise<{
    bits: number[][];
    loaded: LoadReport[];
    asked: number[];
    listed: CachedModel[];
    left: number;
    weightsBytes: number;
  }> {
    const folder = new URL('/test/fixtures/reference/tiny-plain/', location.origin);
    const file = await fetch(new URL('model.safetensors', folder));
    const weights = padded(new Uint8Array(await file.arrayBuffer()));
    const online: typeof fetch = async (url, init) =>
      String(url).endsWith('/model.safetensors') ? answer(weights, init) : fetch(url, init);
    const result = {
      weightsBytes: weights.length,
      bits: [] as number[][],
      loaded: [] as LoadReport[],
      asked: [] as number[],
      listed: [] as CachedModel[],
      left: 0,
    };
    const load = async (
      get: typeof fetch,
      signal?: AbortSignal,
      onBytes?: (bytes: number) => void,
    ): Promise<void> => {
      let asked = 0;
      const counting: typeof fetch = (...request) => {
        asked += 1;
        return get(...request);
      };
      using model = await DINOv2.fromPretrained(folder, {
        cache,
        fetch: counting,
        selfTest: false,
        signal,
        onProgress: ({ loadedBytes }) => onBytes?.(loadedBytes),
      });
      using features = await model.forward(syntheticTensor('pixel_values.56x98', [2, 3, 56, 98]), {
        height: 56,
        width: 98,
        batch: 2,
      });
      result.bits.push([...new Uint32Array((await features.lastHiddenState()).buffer)]);
      result.loaded.push(model.loaded);
      result.asked.push(asked);
    };
    const offline = (): Promise<never> => Promise.reject(new TypeError('no network'));
    await removeCached();
    await load(online);
    await load(offline);
    result.listed = await listCached();
    await removeCached();
    result.left = (await listCached()).length;
    const controller = new AbortController();
    await load(online, controller.signal, (bytes) => bytes > 6_000_000 && controller.abort()).catch(
      () => undefined,
    );
    await load(online);
    await removeCached();
    return result;
  },

  /** Stores an index and reopens it. Returns the hits of one search before and after. */
  async index(): Promise<{ before: unknown; after: unknown; size: number; names: string[]; left: string[] }> {
    const name = `firefox ${Math.random()}`;
    const dim = 64;
    const vectors = syntheticTensor('vectors', [500, dim]);
    const hits = async (index: EmbeddingIndex): Promise<unknown> =>
      (await index.search(vectors.subarray(7 * dim, 8 * dim), { topK: 10 })).map(({ id, score }) => [
        id,
        score,
      ]);
    const index = await EmbeddingIndex.open(name, { dim });
    await index.addMany(
      Array.from({ length: 500 }, (_, i) => ({
        id: `item ${i}`,
        vector: vectors.subarray(i * dim, (i + 1) * dim),
      })),
    );
    await index.remove('item 3');
    const before = await hits(index);
    index.dispose();
    const again = await EmbeddingIndex.open(name, { dim });
    const found = { before, after: await hits(again), size: again.size };
    again.dispose();
    const namesOf = async (): Promise<string[]> =>
      (await listIndexes()).map((kept) => kept.name).filter((each) => each === name);
    const names = await namesOf();
    await deleteIndex(name);
    return { ...found, names, left: await namesOf() };
  },

  /** Pixels that differ from Python's, by file name (pixels.ts). */
  files: filesThatDiffer,
  photographs: photographsThatDiffer,
  pngs: pngsThatDiffer,
  large: largeThatDiffer,
  sizes: sizesThatDiffer,

  filesInWorker: (): Promise<Differing> => inWorker('files') as Promise<Differing>,
  awkward: (): Promise<Record<string, string>> => awkwardFilesThatDiffer(),
  /** Camera JPEGs, and one file of each other kind. */
  awkwardInWorker: (): Promise<Record<string, string>> =>
    inWorker(/^camera|^png-rgb-profile|^apng-rgb|^webp-small|^gif-inside|^avif\d|-48\./) as Promise<
      Record<string, string>
    >,
  avifs: avifsThatDiffer,
  blobsOfParts: blobsThatFail,

  /** Times of reads and forwards (read.ts). */
  reads: timeReads,
  loadForward: async (): Promise<void> => {
    forward = await loadForward();
  },
  forward: (): Promise<{ ms: number; submits: number }> => forward!.run(),
};

function inWorker(what: 'files' | RegExp): Promise<unknown> {
  const worker = new Worker(new URL('./pixels.worker.ts', import.meta.url), { type: 'module' });
  const answer = new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
  });
  worker.postMessage(what);
  return answer.finally(() => worker.terminate());
}

declare global {
  var actions: typeof pageActions;
}
globalThis.actions = pageActions;
