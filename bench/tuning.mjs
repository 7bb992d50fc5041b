// Measures warm forward passes before and after `model.tune()`, also of fp16 models with f16 arithmetic, in Node on
// one adapter.
//
//   node bench/tuning.mjs [--adapter any | swiftshader | DRIVER.json] [--as-gpu] [--model small,base,large]
//                         [--px 224,518] [--dtype fp32,fp16,fp16-f16] [--seconds 3] [--json FILE]
//
// fp16-f16: the device says that it is an RDNA 2, so that the linear layers of fp16 compute with f16 if the adapter
// has shader-f16 and the kernels pass the self-test. --as-gpu: a software adapter uses a GPU's kernels, for which
// tune() has a choice. tune() must not change a bit, and the cosine of every token with f16 arithmetic must be at
// least 0.99999 of that with f32 arithmetic. The exit code is 1 if not.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { installWebGpu } from './adapter.mjs';
import { median } from './child.mjs';
import { library } from './load-source.mjs';
import { compare } from './peers/compare.mjs';

const { values } = parseArgs({
  options: {
    adapter: { type: 'string', default: 'any' },
    'as-gpu': { type: 'boolean', default: false },
    model: { type: 'string', default: 'small,base,large' },
    px: { type: 'string', default: '224,518' },
    dtype: { type: 'string', default: 'fp32,fp16,fp16-f16' },
    seconds: { type: 'string', default: '3' },
    json: { type: 'string' },
  },
});
await installWebGpu(values.adapter);
const { DINOv2, syntheticTensor } = await library();
const sizesPx = values.px.split(',').map(Number);

/** A device like the library's own. @param about replaces properties of its adapter's description */
async function requestDevice(about) {
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
  const { maxStorageBufferBindingSize, maxBufferSize, maxTextureDimension2D } = adapter.limits;
  const device = await adapter.requestDevice({
    requiredLimits: { maxStorageBufferBindingSize, maxBufferSize, maxTextureDimension2D },
    requiredFeatures: ['shader-f16', 'subgroups', 'timestamp-query'].filter((name) =>
      adapter.features.has(name),
    ),
  });
  const { vendor, architecture, description } = adapter.info;
  const real = values['as-gpu']
    ? { vendor: 'test', architecture, description: 'with the kernels of GPUs' }
    : { vendor, architecture, description };
  Object.defineProperty(device, 'adapterInfo', { value: { ...real, ...about } });
  return { device, name: description || `${vendor} ${architecture}` };
}

async function timesOf(model, px) {
  const pixels = syntheticTensor(`pixel_values.${px}x${px}`, [1, 3, px, px]);
  const forward = async () => {
    const features = await model.forward(pixels, { height: px, width: px });
    const tokens = await features.lastHiddenState();
    features.dispose();
    return tokens;
  };
  const output = await forward();
  const ms = [];
  const until = performance.now() + Number(values.seconds) * 1000;
  while (ms.length < 3 || (ms.length < 50 && performance.now() < until)) {
    const startMs = performance.now();
    await forward();
    ms.push(performance.now() - startMs);
  }
  return { output, ms: median(ms), fastestMs: Math.min(...ms), runs: ms.length };
}

const rows = [];
let name;
for (const size of values.model.split(',')) {
  const outputs = new Map(); // of fp16 with f32 arithmetic, by size in pixels
  for (const dtype of values.dtype.split(',')) {
    const adapter = await requestDevice(dtype === 'fp16-f16' ? { architecture: 'rdna-2' } : {});
    name ??= adapter.name;
    process.stderr.write(`${size}, ${dtype}\n`);
    const startMs = performance.now();
    const model = await DINOv2.synthetic(size, { device: adapter.device, dtype: dtype.split('-')[0] });
    const loadMs = performance.now() - startMs;
    const before = new Map();
    for (const px of sizesPx) before.set(px, await timesOf(model, px));
    process.stderr.write(`${size}, ${dtype}: tune()\n`);
    const tuned = await model.tune({ sizesPx, store: false });
    for (const px of sizesPx) {
      const { output, ms, fastestMs, runs } = before.get(px);
      const after = await timesOf(model, px);
      const row = { model: size, px, dtype, loadMs, runs, ms, fastestMs };
      rows.push(row);
      Object.assign(row, { tunedMs: after.ms, tunedFastestMs: after.fastestMs, tuneMs: tuned.ms });
      Object.assign(row, { source: tuned.source, tuning: tuned.tuning, leftOut: tuned.leftOut });
      row.reason = model.dtypeReason;
      row.different = output.filter((value, i) => !Object.is(value, after.output[i])).length;
      if (dtype === 'fp16') outputs.set(px, output);
      const reference = dtype === 'fp16-f16' && outputs.get(px);
      if (reference) row.minCosine = compare(reference, output, model.config.embedDim).minCosine;
    }
    model.dispose();
    adapter.device.destroy();
  }
}
const wrong = rows.filter(({ different, minCosine = 1 }) => different > 0 || !(minCosine >= 0.99999));

const ms = (value) => value.toFixed(value >= 100 ? 0 : 2);
console.log(`\n${new Date().toISOString().slice(0, 10)}, ${name}: one image, warm, with readback\n`);
console.log(
  '| model | px | dtype | ms (median, fastest of runs) | after tune() | tune() | chosen | values that differ | smallest cosine |\n|---|---|---|---|---|---|---|---|---|',
);
for (const row of rows) {
  const chosen = row.tuning
    ? Object.entries(row.tuning).map(([what, value]) => `${what} ${value ?? 'unused'}`)
    : [row.source];
  const left = row.leftOut.length > 0 ? `; left out: ${row.leftOut.join('; ')}` : '';
  const cells = [row.model, row.px, row.dtype, `${ms(row.ms)}, ${ms(row.fastestMs)} of ${row.runs}`];
  cells.push(`${ms(row.tunedMs)}, ${ms(row.tunedFastestMs)}`, `${(row.tuneMs / 1000).toFixed(1)} s`);
  cells.push(chosen.join(', ') + left, row.different);
  cells.push(row.minCosine === undefined ? '' : `1 − ${(1 - row.minCosine).toExponential(1)}`);
  console.log(`| ${cells.join(' | ')} |`);
}
for (const { model, reason } of rows.filter(({ dtype, px }) => dtype === 'fp16-f16' && px === sizesPx[0]))
  console.log(`\n${model}, fp16-f16: ${reason}`);
if (values.json) writeFileSync(values.json, `${JSON.stringify(rows, null, 2)}\n`);
process.exit(wrong.length > 0 ? 1 : 0);
