// Checks every kernel of a forward pass against float64 on this adapter (the library's self-test): all
// families, every weight storage, also kernels that only model.tune() uses; with Dawn's stock and tuned
// flags.
//
//   node bench/check-kernels.mjs [--adapter any | swiftshader | DRIVER.json] [--flags stock,tuned]
//                                [--weights f32,f16,f16-packed,int8] [--for gpus,software]
//
// The exit code is 1 if a kernel fails the self-test.
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { installWebGpu, TUNED } from './adapter.mjs';
import { Child, serve } from './child.mjs';
import { library } from './load-source.mjs';

if (process.send) {
  let installed;
  serve({
    async check({ adapter: name, software, storage, operands, arithmetic }) {
      await (installed ??= installWebGpu(name));
      const { Gpu, buildForward, configOf, describeAdapter, selfTest, targetOf, EVERY_TILE, F16_TARGET } =
        await library();
      const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
      if (!adapter) throw new Error('no adapter');
      const requiredFeatures = ['shader-f16', 'subgroups'].filter((feature) => adapter.features.has(feature));
      if (storage === 'f16' && !requiredFeatures.includes('shader-f16'))
        return 'the adapter has no shader-f16';
      const gpu = await Gpu.of(
        await adapter.requestDevice({ requiredFeatures }),
        { ...describeAdapter(adapter.info), software },
        true,
      );
      const nodesOf = (size, options) =>
        buildForward(configOf(size, options), { batch: 1, rows: 1, cols: 1 }, { masked: true }).graph.nodes;
      const nodes = [...nodesOf('small'), ...nodesOf('giant', { registers: true })];
      const more = arithmetic === 'f16' ? F16_TARGET : { operands };
      const ms = await selfTest(gpu, nodes, { ...targetOf(gpu, storage), ...EVERY_TILE, ...more });
      return `correct, in ${ms.toFixed(0)} ms${gpu.alternativesAgree ? '' : ', but alternative kernels give different bits'} (${adapter.info.description || adapter.info.vendor})`;
    },
  });
} else {
  const { values } = parseArgs({
    options: {
      adapter: { type: 'string', default: process.env.TEST_ADAPTER ?? 'any' },
      flags: { type: 'string', default: 'stock,tuned' },
      weights: { type: 'string', default: 'f32,f16,f16-packed,int8' },
      for: { type: 'string', default: 'gpus,software' },
    },
  });
  console.log('| flags | kernels for | weights | |\n|---|---|---|---|');
  for (const flags of values.flags.split(',')) {
    const start = () =>
      new Child(fileURLToPath(import.meta.url), { DAWN_FEATURES: flags === 'tuned' ? TUNED : '' });
    let child = start();
    for (const adapters of values.for.split(',')) {
      const software = adapters === 'software';
      const forms = values.weights.split(',').map((storage) => ({ storage, operands: 'f32', text: storage }));
      if (!software && values.weights.includes('f16')) {
        const text = 'f16, f16 in workgroup memory';
        forms.push({ storage: 'f16', operands: 'f16', text });
        forms.push({ storage: 'f16', arithmetic: 'f16', text: `${text}, f16 arithmetic` });
      }
      for (const { text, ...form } of forms) {
        const outcome = await child
          .call('check', { adapter: values.adapter, software, ...form })
          .catch((error) => {
            process.exitCode = 1;
            child.end(); // after a failure, the driver of this process may not work correctly any more
            child = start();
            return `WRONG: ${error.message.split('\n')[0]}`;
          });
        console.log(`| ${flags} | ${software ? 'software adapters' : 'GPUs'} | ${text} | ${outcome} |`);
      }
    }
    child.end();
  }
  process.exit();
}
