// The page of chromium.mjs: runs this library and onnxruntime-web (WebGPU) in turn on the page's adapter.
import * as ort from './node_modules/onnxruntime-web/dist/ort.webgpu.min.mjs';
import { DINOv2, syntheticTensor } from '../entry.ts';
import { compare } from './compare.mjs';

ort.env.wasm.wasmPaths = new URL('node_modules/onnxruntime-web/dist/', location.href).href;
ort.env.wasm.numThreads = 1; // work on the GPU needs no threads

/**
 * Measures all engines.
 * @returns the adapter, and for every engine its times in ms, or its error. For ONNX Runtime also the
 *   difference between its output and the output of this library
 */
window.measure = async ({ size, px, dtype, names, runs, seconds }) => {
  const pixels = syntheticTensor(`pixel_values.${px}x${px}`, [1, 3, px, px]);
  const model = await DINOv2.synthetic(size, { dtype });
  const ours = async () => {
    const features = await model.forward(pixels, { height: px, width: px });
    const tokens = await features.lastHiddenState();
    features.dispose();
    return tokens;
  };
  const contenders = [{ label: 'ours', run: ours, ms: [] }];
  const expected = await ours();
  for (const name of names) {
    const contender = { label: `onnxruntime-web, ${name.split('-').at(-1)}`, ms: [] };
    contenders.push(contender);
    try {
      const session = await ort.InferenceSession.create(`models/${name}.onnx`, {
        executionProviders: ['webgpu'],
        graphOptimizationLevel: 'all',
        externalData: [{ path: `${name}.bin`, data: `models/${name}.bin` }],
        extra: { session: { disable_cpu_ep_fallback: '1' } }, // every operator on the GPU, or no session
      });
      const input = new ort.Tensor('float32', pixels, [1, 3, px, px]);
      contender.run = async () => (await session.run({ pixel_values: input })).last_hidden_state.getData();
      Object.assign(contender, compare(expected, await contender.run(), model.config.embedDim));
    } catch (error) {
      contender.error = String(error?.message ?? error);
    }
  }
  const ready = contenders.filter(({ error }) => !error);
  for (const { run } of ready) await run(); // warm-up
  const until = performance.now() + seconds * 1000;
  for (let round = 0; round < runs && (round < 3 || performance.now() < until); round++) {
    for (const { run, ms } of ready) {
      const startMs = performance.now();
      await run();
      ms.push(performance.now() - startMs);
    }
  }
  const { description, vendor, architecture } = model.adapter;
  const browser = navigator.userAgent.match(/Chrome\/\d+|Firefox\/\d+/)?.[0] ?? navigator.userAgent;
  model.dispose();
  return {
    adapter: description || `${vendor} ${architecture}`,
    browser,
    contenders: contenders.map(({ label, ms, error, maxAbsError, minCosine }) => ({
      label,
      ms,
      error,
      maxAbsError,
      minCosine,
    })),
  };
};
