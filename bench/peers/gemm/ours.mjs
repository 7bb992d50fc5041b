// Child process of gemm.mjs: our linear layers, with weights of zeros, which take as long as others.
import { installWebGpu } from '../../adapter.mjs';
import { serve, timed } from '../../child.mjs';
import { source } from '../../load-source.mjs';

let gpu;
let run;

serve({
  load: ({ adapter }) => installWebGpu(adapter),
  async shape({ rows, depth, columns }) {
    const { acquireGpu } = await source('src/gpu/device.ts');
    const { lower, sizeWords, targetOf } = await source('src/gpu/lowering.ts');
    gpu ??= await acquireGpu();
    const value = (name, shape, kind) => ({ name, shape, kind });
    const node = {
      label: 'layer',
      operation: { kind: 'linear' },
      inputs: [
        value('x', [rows, depth], 'activation'),
        value('weight', [columns, depth], 'weight'),
        value('bias', [columns], 'weight'),
      ],
      output: value('out', [rows, columns], 'activation'),
    };
    const size = { batch: 1, rows: 1, cols: rows - 1, numTokens: rows };
    const { variant, workgroups } = lower(node, targetOf(gpu, 'f32'), size);
    const kernel = await gpu.pipelines.compile(variant);
    run = (repeats) =>
      gpu.task('layer', undefined, async (task) => {
        task.burst((burst) => {
          const uniform = burst.uniformOf('size', sizeWords(size));
          const buffers = [...node.inputs, node.output].map(({ name, shape }) =>
            burst.storage(name, 4 * Math.ceil(shape[0] / 64) * 64 * (shape[1] ?? 1)),
          );
          const group = gpu.pipelines.bind(
            kernel,
            [uniform, ...buffers].map((buffer) => ({ buffer })),
          );
          const pass = burst.pass();
          pass.setPipeline(kernel.pipeline);
          pass.setBindGroup(0, group);
          for (let i = 0; i < repeats; i++) pass.dispatchWorkgroups(...workgroups(size));
        });
        await task.computed();
      });
    await run(1);
  },
  async time({ repeats }) {
    const { wallMs, cpuMs } = await timed(() => run(repeats), 1);
    return { ms: wallMs[0] / repeats, cpuMs: cpuMs[0] / repeats };
  },
});
