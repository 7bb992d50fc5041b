// Measures images per second for batches of 1 to 32 images. The default batch size is based on these figures.
//
//   node bench/batches.mjs [--adapter any | swiftshader | FILE] [--model small] [--px 224] [--sizes
//   1,2,4,8,16,32] [--runs 3]
//
// Prints Markdown, with the fastest of the runs. A run is a forward pass whose vectors are read back. CPU
// time is measured for this process. On a software adapter, CPU time is more reliable than wall time, because
// other programs share the CPU.
import { parseArgs } from 'node:util';
import { installWebGpu } from './adapter.mjs';
import { library } from './load-source.mjs';

const { values } = parseArgs({
  options: {
    adapter: { type: 'string', default: 'any' },
    model: { type: 'string', default: 'small' },
    px: { type: 'string', default: '224' },
    sizes: { type: 'string', default: '1,2,4,8,16,32' },
    runs: { type: 'string', default: '3' },
  },
});
await installWebGpu(values.adapter);
const { DINOv2 } = await library();
const model = await DINOv2.synthetic(values.model);
const px = Number(values.px);
console.log(`\n${values.model} at ${px}, ${model.adapter.description}\n`);
console.log('| batch | ms | images per second | CPU time per image, ms |\n|---|---|---|---|');
for (const batch of values.sizes.split(',').map(Number)) {
  const pixels = new Float32Array(batch * 3 * px * px).fill(0.5);
  let best = Infinity;
  let leastCpuMs = Infinity;
  for (let run = 0; run <= Number(values.runs); run++) {
    const begin = performance.now();
    const before = process.cpuUsage();
    const features = await model.forward(pixels, { batch, height: px, width: px });
    await features.clsToken();
    features.dispose();
    if (run === 0) continue; // run 0 is a warm-up, which compiles the program
    best = Math.min(best, performance.now() - begin);
    const { user, system } = process.cpuUsage(before);
    leastCpuMs = Math.min(leastCpuMs, (user + system) / 1000);
  }
  console.log(
    `| ${batch} | ${best.toFixed(0)} | ${((1000 * batch) / best).toFixed(2)} | ${(leastCpuMs / batch).toFixed(0)} |`,
  );
}
process.exit(0);
