// Measures what an adapter costs besides arithmetic, in Node: waiting for a result, a submit, and a dispatch that
// depends on the dispatch before it.
//
//   node bench/waits.mjs [--adapter any | swiftshader | DRIVER.json] [--runs 50] [--json FILE]
//
// The time of a dispatch is the additional time of a pass with --dispatches dispatches, divided by their number.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { installWebGpu } from './adapter.mjs';
import { median } from './child.mjs';

const { values } = parseArgs({
  options: {
    adapter: { type: 'string', default: 'any' },
    runs: { type: 'string', default: '50' },
    dispatches: { type: 'string', default: '1000' },
    json: { type: 'string' },
  },
});
await installWebGpu(values.adapter);
const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
if (!adapter) throw new Error('no adapter');
const device = await adapter.requestDevice();
const code = `@group(0) @binding(0) var<storage, read_write> sums: array<u32>;
@compute @workgroup_size(64) fn add(@builtin(global_invocation_id) id: vec3u) { sums[id.x] += 1u; }`;
const module = device.createShaderModule({ code });
const pipeline = await device.createComputePipelineAsync({
  layout: 'auto',
  compute: { module, entryPoint: 'add' },
});
const size = 256;
const sums = device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
const read = device.createBuffer({ size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
const group = device.createBindGroup({
  layout: pipeline.getBindGroupLayout(0),
  entries: [{ binding: 0, resource: { buffer: sums } }],
});
let added = 0;

function submit(dispatches) {
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  for (let i = 0; i < dispatches; i++) pass.dispatchWorkgroups(1);
  added += dispatches;
  pass.end();
  encoder.copyBufferToBuffer(sums, 0, read, 0, size);
  device.queue.submit([encoder.finish()]);
}

async function times(run) {
  for (let i = 0; i < 3; i++) await run();
  const ms = [];
  for (let i = 0; i < Number(values.runs); i++) {
    const startMs = performance.now();
    await run();
    ms.push(performance.now() - startMs);
  }
  return { smallestMs: Math.min(...ms), medianMs: median(ms), largestMs: Math.max(...ms) };
}

const dispatches = Number(values.dispatches);
const done = (count) => async () => {
  submit(count);
  await device.queue.onSubmittedWorkDone();
};
const rows = {
  'a submit with one dispatch, until it is done': await times(done(1)),
  [`a submit with ${dispatches} dispatches, until it is done`]: await times(done(dispatches)),
  'the same with one dispatch, and reading 256 bytes': await times(async () => {
    submit(1);
    await read.mapAsync(GPUMapMode.READ);
    const [sum] = new Uint32Array(read.getMappedRange());
    read.unmap();
    if (sum !== added) throw new Error(`expected ${added} dispatches, found ${sum}`);
  }),
};
const [one, many] = Object.values(rows);
const microseconds = (1000 * (many.smallestMs - one.smallestMs)) / (dispatches - 1);

const { vendor, architecture, description } = adapter.info;
console.log(`${description || `${vendor} ${architecture}`}, ${values.runs} runs\n`);
console.log('| wait | smallest, median, largest ms |\n|---|---|');
for (const [name, { smallestMs, medianMs, largestMs }] of Object.entries(rows))
  console.log(`| ${name} | ${[smallestMs, medianMs, largestMs].map((ms) => ms.toFixed(2)).join(', ')} |`);
console.log(`\nA dispatch that depends on the one before it: ${microseconds.toFixed(1)} µs.`);
if (values.json) writeFileSync(values.json, `${JSON.stringify({ rows, microseconds }, null, 2)}\n`);
process.exit(0);
