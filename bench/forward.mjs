// Times whole forwards in Node on Dawn, weights by formula: warm, one image, fp32.
//
//   npm run bench -- [--model small,base,large] [--px 224,518] [--runs 5] [--dtype fp32] [--adapter FILE | swiftshader]
//
// Prints a line of Markdown for each: the median and the fastest forward, without and with the last hidden state read back. --adapter chooses the Vulkan
// driver (scripts/get-lavapipe.sh prints Mesa's file); DAWN_FEATURES passes toggles to Dawn.
import { parseArgs } from 'node:util';
import { create, globals } from 'webgpu';
import { chromiumPath, useSwiftShader, useVulkanDriver, vulkanFolder } from '../scripts/software-gpu.mjs';
import { source } from './load-source.mjs';

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: 'small' },
    px: { type: 'string', default: '224' },
    runs: { type: 'string', default: '5' },
    dtype: { type: 'string', default: 'fp32' },
    adapter: { type: 'string', default: 'any' },
  },
});

Object.assign(globalThis, globals);
const swiftShader = vulkanFolder(await chromiumPath());
if (options.adapter === 'swiftshader') useSwiftShader(swiftShader);
else if (options.adapter !== 'any') useVulkanDriver(options.adapter, swiftShader && `${swiftShader}/libvulkan.so.1`);
const features = process.env.DAWN_FEATURES;
Object.defineProperty(globalThis, 'navigator', { value: { gpu: create(features ? [`enable-dawn-features=${features}`] : []) }, configurable: true });

const { DINOv2 } = await source('src/index.ts');
const { syntheticTensor } = await source('src/checkpoint/synthetic.ts');

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const runs = Number(options.runs);

console.log('| adapter | model | px | dtype | load ms | first ms | forward ms (median, fastest) | with readback ms |\n|---|---|---|---|---|---|---|---|');
for (const size of options.model.split(',')) {
  const loadMs = performance.now();
  const model = await DINOv2.synthetic(size, { dtype: options.dtype });
  const loaded = performance.now() - loadMs;
  for (const px of options.px.split(',').map(Number)) {
    const pixels = syntheticTensor(`pixel_values.${px}x${px}`, [1, 3, px, px]);
    const forward = async (read) => {
      const startMs = performance.now();
      const result = await model.forward(pixels, { height: px, width: px });
      if (read) await result.lastHiddenState();
      else await model.device.queue.onSubmittedWorkDone();
      const took = performance.now() - startMs;
      result.dispose();
      return took;
    };
    const first = await forward(true);
    const without = [];
    const withReadback = [];
    for (let run = 0; run < runs; run++) {
      without.push(await forward(false));
      withReadback.push(await forward(true));
    }
    const cells = [model.adapter.description || model.adapter.vendor, size, px, options.dtype, loaded.toFixed(0), first.toFixed(0)];
    console.log(`| ${[...cells, `${median(without).toFixed(1)}, ${Math.min(...without).toFixed(1)}`, median(withReadback).toFixed(1)].join(' | ')} |`);
  }
  model.dispose();
}
process.exit(0);
