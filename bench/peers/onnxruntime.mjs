// Child process of node.mjs: ONNX Runtime's native WebGPU engine (C++ on Dawn), from the package
// onnxruntime-node.
import { createRequire } from 'node:module';
import { useAdapter } from '../adapter.mjs';
import { serve, timed } from '../child.mjs';
import { library } from '../load-source.mjs';
import { prepareModel } from './models.mjs';

let run;

serve({
  async load({ adapter, px, name }) {
    await useAdapter(adapter);
    const { syntheticTensor, f32ToF16 } = await library();
    const { onnx } = await prepareModel(name, { syntheticTensor, f32ToF16 });
    const { InferenceSession, Tensor } = createRequire(import.meta.url)('onnxruntime-node');
    const session = await InferenceSession.create(onnx, {
      executionProviders: ['webgpu'],
      graphOptimizationLevel: 'all',
      extra: { session: { disable_cpu_ep_fallback: '1' } }, // every operator on the GPU, or no session
    });
    const pixels = new Tensor('float32', syntheticTensor(`pixel_values.${px}x${px}`, [1, 3, px, px]), [
      1,
      3,
      px,
      px,
    ]);
    run = async () => (await session.run({ pixel_values: pixels })).last_hidden_state.data; // on the CPU: the result is read back
  },
  output: () => run(),
  time: ({ runs }) => timed(run, runs),
});
