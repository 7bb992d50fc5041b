// How the cost of a forward pass grows with the model and the image: FLOPs and planned bytes by arithmetic, and with
// --measure the time and memory of a warm forward pass, in Node on one adapter.
//
//   node bench/growth.mjs [--cases small:224,small:518,…] [--measure] [--adapter any | swiftshader | DRIVER.json]
//                         [--dtype fp32] [--runs 1] [--depth N]
//
// CPU time is of this process with all threads of a software adapter, and the least of the runs: it depends less on other
// programs. Kernels are compiled by a forward pass of 28 × 28 pixels before. `largest` is the largest activation. --depth: only so many blocks.
import { parseArgs } from 'node:util';
import { installWebGpu } from './adapter.mjs';
import { source } from './load-source.mjs';

const ALL = ['small', 'base', 'large', 'giant']
  .flatMap((model) => [224, 518, 1036, 2072].map((px) => `${model}:${px}`))
  .join(',');
const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: ALL },
    measure: { type: 'boolean', default: false },
    adapter: { type: 'string', default: 'any' },
    dtype: { type: 'string', default: 'fp32' },
    runs: { type: 'string', default: '1' },
    depth: { type: 'string' },
  },
});
const { configOf } = await source('src/model/config.ts');
const { buildForward } = await source('src/model/vit.ts');
const { flopsOf } = await source('src/gpu/program.ts');
const { planMemory } = await source('src/graph/planner.ts');
const { DINOv2, syntheticTensor } = await source('bench/entry.ts');
if (values.measure) await installWebGpu(values.adapter);

/** The configuration of a model, with --depth blocks. */
const configFor = (size) => ({
  ...configOf(size),
  ...(values.depth && { depth: Number(values.depth) }),
});

let loaded;
/** Loads a model, if it is not the last one. */
async function modelOf(size) {
  if (loaded?.size !== size) {
    loaded?.model.dispose();
    loaded = { size, model: await DINOv2.synthetic(configFor(size), { dtype: values.dtype }) };
    await forward(loaded.model, 28);
    loaded.bytes = loaded.model.gpuBytes;
  }
  return loaded;
}

async function forward(model, px) {
  const pixels = syntheticTensor(`pixel_values.${px}x${px}`, [1, 3, px, px]);
  const startMs = performance.now();
  const cpu = process.cpuUsage();
  const features = await model.forward(pixels, { height: px, width: px });
  await features.clsToken();
  const { user, system } = process.cpuUsage(cpu);
  features.dispose();
  return { ms: performance.now() - startMs, cpuMs: (user + system) / 1000 };
}

const measured = ['wall s', 'CPU s', 'CPU s for each TFLOP', 'MB on the GPU'];
const titles = ['model', 'px', 'tokens', 'GFLOP', 'of attention', 'planned MB', 'largest, MB'];
const head = [...titles, ...(values.measure ? measured : [])];
console.log(`| ${head.join(' | ')} |\n|${head.map(() => '---|').join('')}`);
for (const [size, px] of values.cases.split(',').map((text) => text.split(':'))) {
  const config = configFor(size);
  const rows = Math.floor(px / config.patchSize);
  const forwardSize = { batch: 1, rows, cols: rows, numTokens: rows * rows + 1 };
  const { graph } = buildForward(config, { batch: 1, rows, cols: rows });
  let [flops, attention, largest] = [0, 0, 0];
  for (const node of graph.nodes) {
    const own = flopsOf(node, forwardSize);
    flops += own;
    if (node.operation.kind === 'attention') attention += own;
    largest = Math.max(largest, 4 * node.output.shape.reduce((a, b) => a * b));
  }
  const { plannedBytes } = planMemory(graph);
  const cells = [size, px, forwardSize.numTokens, (flops / 1e9).toFixed(1)];
  cells.push(`${((100 * attention) / flops).toFixed(0)} %`, (plannedBytes / 1e6).toFixed(1));
  cells.push((largest / 1e6).toFixed(1));
  if (values.measure) {
    const { model } = await modelOf(size);
    const times = [];
    for (let run = 0; run < Number(values.runs); run++) times.push(await forward(model, Number(px)));
    const least = (of) => Math.min(...times.map(of)) / 1000;
    const cpuSeconds = least(({ cpuMs }) => cpuMs);
    cells.push(least(({ ms }) => ms).toFixed(2), cpuSeconds.toFixed(2));
    cells.push(((cpuSeconds * 1e12) / flops).toFixed(0), (model.gpuBytes / 1e6).toFixed(1));
  }
  console.log(`| ${cells.join(' | ')} |`);
}
process.exit(0);
