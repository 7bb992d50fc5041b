// node bench/check-kernels.mjs [--adapter any | swiftshader | DRIVER.json] Every kernel of a forward, in all
// families and every way to store and stage weights, those too that only model.tune() may choose, against
// float64 on this adapter (the library's self-test), and the same with Dawn's tuned flags. Exit code 1 if one
// is wrong. What fails is said, and the rest goes on in a new process.
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { installWebGpu, TUNED } from './adapter.mjs';
import { Child, serve } from './child.mjs';
import { library } from './load-source.mjs';

const STORAGES = ['f32', 'f16', 'f16-packed', 'int8'];

if (process.send) {
  let installed;
  serve({
    async check({ adapter: name, software, storage, operands }) {
      await (installed ??= installWebGpu(name));
      const { Gpu, describeAdapter, selfTest, targetOf, packMatrix, EVERY_TILE } = await library();
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
      if (software && !gpu.laneKernels) return 'the adapter has no lane kernels';
      return `right, in ${(await selfTest(gpu, { ...targetOf(gpu, storage), ...EVERY_TILE, operands }, packMatrix)).toFixed(0)} ms${gpu.alternativesAgree ? '' : ', but alternatives give different bits'} (${adapter.info.description || adapter.info.vendor})`;
    },
  });
} else {
  const { values } = parseArgs({
    options: {
      adapter: { type: 'string', default: process.env.TEST_ADAPTER ?? 'any' },
      flags: { type: 'string', default: 'stock,tuned' },
    },
  });
  console.log('| flags | kernels for | weights | |\n|---|---|---|---|');
  for (const flags of values.flags.split(',')) {
    const start = () =>
      new Child(fileURLToPath(import.meta.url), { DAWN_FEATURES: flags === 'tuned' ? TUNED : '' });
    let child = start();
    for (const software of [false, true]) {
      for (const [storage, operands] of software
        ? STORAGES.map((each) => [each, 'f32'])
        : [...STORAGES.map((each) => [each, 'f32']), ['f16', 'f16']]) {
        const found = await child
          .call('check', { adapter: values.adapter, software, storage, operands })
          .catch((error) => {
            process.exitCode = 1;
            child.end(); // a driver that failed is not trusted with the next one
            child = start();
            return `WRONG: ${error.message.split('\n')[0]}`;
          });
        console.log(
          `| ${flags} | ${software ? 'software adapters' : 'GPUs'} | ${storage}${operands === 'f16' ? ' staged as f16' : ''} | ${found} |`,
        );
      }
    }
    child.end();
  }
  process.exit();
}
