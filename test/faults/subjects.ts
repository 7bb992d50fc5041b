// The calls of the library whose calls of WebGPU are made to fail.
import { DINOv2 } from '../../src/dinov2.ts';
import { correspondences, PatchSegmenter, PatchTracker, PCA, type RawImage } from '../../src/index.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import { headerOf } from '../../src/search/checks.ts';
import { encodeVector } from '../../src/search/codec.ts';
import { Items } from '../../src/search/items.ts';
import { Searcher } from '../../src/search/searcher.ts';
import { GpuSearch } from '../../src/search/searchGpu.ts';
import { pixelsOf, tiny } from '../gpu/tiny.ts';
import type { Subject } from './everyFault.ts';

const size = { height: 42, width: 28, batch: 2 };
const pixels = pixelsOf(42, 28, 2);
const image = (width: number, height: number, seed = 1): RawImage => ({
  data: Uint8ClampedArray.from({ length: width * height * 3 }, (_, i) => (i * i * seed + 31 * i) % 251),
  width,
  height,
});
const vectorsOf = (count: number): Float32Array<ArrayBuffer>[] =>
  Array.from({ length: count }, (_, row) =>
    Float32Array.from({ length: 24 }, (_, i) => Math.sin(row * 7 + i * i)),
  );
const square = { resize: 'square', size: 28 } as const;

/** A model with a call that uses it. */
const ofModel =
  (run: (model: DINOv2) => Promise<readonly ArrayLike<number>[]>) =>
  async (device: GPUDevice): Promise<Subject> => {
    const model = await DINOv2.synthetic(tiny, { device, selfTest: false });
    return { run: () => run(model), dispose: () => model.dispose() };
  };

/** Loads a model and runs it once. */
const load =
  (selfTest: boolean) =>
  async (device: GPUDevice): Promise<Subject> => {
    let reason = '';
    return {
      run: async () => {
        using model = await DINOv2.synthetic(tiny, { device, selfTest });
        reason = model.dtypeReason;
        using features = await model.forward(pixels, size);
        return [await features.lastHiddenState()];
      },
      usedOtherKernels: () => reason.includes('with other kernels than usual'),
      dispose: () => undefined,
    };
  };

const forward = ofModel(async (model) => {
  using features = await model.forward(pixels, size, {
    layers: [0, 1],
    attentions: [1],
    maskedPatches: Array.from({ length: 12 }, (_, i) => i % 3 === 0),
  });
  return [
    await features.lastHiddenState(),
    await features.hiddenState(1),
    await features.hiddenState(0, { norm: true }),
    ...(await features.getIntermediateLayers([0])),
    await features.attention(1, { query: 'cls' }),
  ];
});

const features = ofModel(async (model) => {
  using result = await model.features([image(40, 30), image(33, 61)], square);
  return [await result.clsToken(), await result.patchTokens()];
});

const vectors = ofModel(async (model) => {
  const images = [image(40, 30), image(33, 61), image(20, 20)];
  const embedded: ArrayLike<number>[] = [];
  for await (const { embedding, error } of model.embedAll(images, { ...square, batchSize: 1 })) {
    if (error) throw error;
    embedded.push(embedding!);
  }
  const groups = await model.featuresBySize(images, { resize: 'fit', longestSide: 42 });
  try {
    for (const group of groups) embedded.push(await group.features.clsToken());
  } finally {
    for (const group of groups) group.features.dispose();
  }
  return [...embedded, await model.embed(images[0]!, square)];
});

const preparation = ofModel(async (model) => [(await model.pixels(image(50, 37), square)).data]);

const pca = ofModel(async (model) => {
  using result = await model.forward(pixels, size);
  const fitted = await PCA.fit(result);
  return [fitted.components, await fitted.rgb(result, { height: 9, width: 6 })];
});

const similarity = ofModel(async (model) => {
  using result = await model.forward(pixels, size);
  using map = await result.similarity({ row: 1, col: 0 });
  return [(await map.read()).values];
});

const segmentation = ofModel(async (model) => {
  using result = await model.forward(pixels, size);
  const segmenter = await PatchSegmenter.fit(result, {
    positive: [{ row: 0, col: 0 }],
    negative: [{ row: 2, col: 1 }],
  });
  using map = await segmenter.map(result);
  return [(await map.read()).values];
});

const tracking = ofModel(async (model) => {
  using result = await model.forward(pixels, size);
  using tracker = await PatchTracker.start(result, { mask: { row: 1, col: 1 } });
  using map = await tracker.next(result);
  return [(await map.read()).values];
});

const matches = ofModel(async (model) => {
  using result = await model.forward(pixels, size);
  using other = await model.forward(pixelsOf(28, 42), { height: 28, width: 42 });
  const { matches } = await correspondences(result, other);
  return [matches.flatMap(({ a, b, score }) => [a.row, a.col, b.row, b.col, score])];
});

/** Correspondences test the matrix product, and use another kernel if it does not compile. */
const matching = async (device: GPUDevice): Promise<Subject> => {
  const gpu = await acquireGpu(device);
  gpu.release();
  const compile = gpu.pipelines.compile.bind(gpu.pipelines);
  let compiled = new Set<string>();
  gpu.pipelines.compile = (variant) => {
    if (variant.kernel.entryPoint === 'linear') compiled.add(variant.kernel.name);
    return compile(variant);
  };
  const subject = await matches(device);
  const usual = compiled;
  return {
    ...subject,
    run: () => {
      compiled = new Set();
      return subject.run();
    },
    usedOtherKernels: () => [...compiled].some((name) => !usual.has(name)),
  };
};

const fingerprint = ofModel(async (model) => [
  [...(await model.fingerprint())].map((digit) => parseInt(digit, 16)),
]);

/** A search among 700 vectors: a new set each time, so that the vectors are uploaded again. */
const search =
  (fallsBack: boolean) =>
  async (device: GPUDevice): Promise<Subject> => {
    const items = new Items(headerOf({ dim: 24, storage: 'f16', metric: 'cosine' }));
    for (const [row, vector] of vectorsOf(700).entries())
      items.apply({ put: { id: `${row}`, vector: encodeVector(vector, 'f16', 'test'), metadata: null } });
    const queries = vectorsOf(32).map((vector) => ({ vector }));
    const gpu = await acquireGpu(device);
    gpu.release();
    const run = async (): Promise<number[][]> => {
      if (fallsBack) {
        const searcher = new Searcher(items, device);
        const hits = await searcher.search(queries, { topK: 5 });
        searcher.dispose();
        return hits.map((each) => each.flatMap(({ id, score }) => [Number(id), score]));
      }
      gpu.retain();
      const onGpu = await GpuSearch.create(gpu, items).catch((error: unknown) => {
        gpu.release();
        throw error;
      });
      try {
        const limits = { topK: 5, allowed: undefined, threshold: -Infinity };
        const found = await onGpu.search(queries, limits, undefined);
        return found!.map((each) => each.flatMap(({ row, score }) => [row, score]));
      } finally {
        onGpu.dispose();
      }
    };
    return { run, dispose: () => undefined };
  };

export const subjects = {
  'a load': load(false),
  'a load with the self-test': load(true),
  'a forward pass with layers, attentions and a mask': forward,
  'features of images': features,
  'vectors of images': vectors,
  'the preparation of an image': preparation,
  'a PCA': pca,
  'a map of similarities': similarity,
  'a segmentation': segmentation,
  tracking,
  correspondences: matching,
  'a fingerprint': fingerprint,
  'a search on the GPU': search(false),
  'a search that may use the CPU': search(true),
};
