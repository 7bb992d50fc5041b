// Records every dispatch of a forward pass of onnxruntime-web: the WGSL, the workgroups, and the sizes of the
// bound buffers. Runs in Node on Dawn's null backend, which checks shaders but executes nothing, so no GPU
// is needed, and the adapter can state any vendor.
//
//   node bench/peers/capture.mjs --name dinov2-small-224-fp32-plain-2
//                                [--gpu amd,intel,intel-xe2,nvidia,apple,none] FOLDER
//   node bench/machine-code/machine-code.mjs --file FOLDER/HASH.wgsl --entry main
//
// FOLDER gets NAME.GPU.json, and each program once as HASH.wgsl. The weights are zero: they change no program.
// NAME.GPU.json has the dispatches of the second forward pass. For a graph of two blocks (make_onnx.py --blocks
// 2), the number of dispatches of a block and the bytes of its bindings are printed.
import { fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { create, globals } from 'webgpu';
import { blockOf, bytesOf } from './captures.mjs';
import { modelsFolder } from './models.mjs';

/** The adapter information that browsers report for one GPU of each vendor, with the sizes of a subgroup. */
const GPUS = {
  amd: { vendor: 'amd', architecture: 'rdna-3', subgroupMinSize: 32, subgroupMaxSize: 64 },
  intel: { vendor: 'intel', architecture: 'xe-lpg', subgroupMinSize: 8, subgroupMaxSize: 32 },
  'intel-xe2': { vendor: 'intel', architecture: 'xe-2lpg', subgroupMinSize: 16, subgroupMaxSize: 32 },
  nvidia: { vendor: 'nvidia', architecture: 'lovelace', subgroupMinSize: 32, subgroupMaxSize: 32 },
  apple: { vendor: 'apple', architecture: 'metal-3', subgroupMinSize: 32, subgroupMaxSize: 32 },
  none: { vendor: 'mesa', architecture: '', subgroupMinSize: 8, subgroupMaxSize: 8 },
};
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    name: { type: 'string' },
    gpu: { type: 'string', default: 'amd,intel,nvidia,apple' },
    child: { type: 'boolean', default: false },
  },
});
const [folder] = positionals;
mkdirSync(folder, { recursive: true });
if (!options.child) {
  // ONNX Runtime reads the adapter once per process.
  for (const gpu of options.gpu.split(','))
    for (const name of options.name.split(',')) {
      const args = ['--child', '--name', name, '--gpu', gpu, folder];
      const code = await new Promise((resolve) =>
        fork(fileURLToPath(import.meta.url), args).on('exit', resolve),
      );
      if (code) console.error(`${name}, ${gpu}: exit code ${code}`);
    }
  process.exit(0);
}

Object.assign(globalThis, globals);
const gpu = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
const real = await gpu.requestAdapter();
const info = { device: '', description: '', isFallbackAdapter: false, ...GPUS[options.gpu] };
const features = new Set([...real.features].filter((name) => !/experimental/.test(name)));
const limits = {};
for (const name in real.limits) limits[name] = real.limits[name];
Object.assign(limits, { maxComputeWorkgroupStorageSize: 32768, maxComputeInvocationsPerWorkgroup: 1024 });
Object.assign(limits, {
  maxComputeWorkgroupSizeX: 1024,
  maxComputeWorkgroupSizeY: 1024,
  maxComputeWorkgroupSizeZ: 64,
});
const adapter = {
  info,
  features,
  limits,
  async requestDevice(descriptor) {
    const device = await real.requestDevice({ ...descriptor, requiredLimits: {} }); // the null backend has lower limits
    Object.defineProperty(device, 'adapterInfo', { value: info });
    device.addEventListener?.('uncapturederror', ({ error }) => console.error(error.message));
    return device;
  },
};
Object.defineProperty(globalThis, 'navigator', {
  value: {
    gpu: { requestAdapter: async () => adapter, getPreferredCanvasFormat: () => 'rgba8unorm' },
    userAgent: 'Chrome/147',
    hardwareConcurrency: 1,
  },
  configurable: true,
});

/** Replaces a method by one that calls `after` with the result and the arguments. */
const hook = (type, method, after) => {
  const original = type.prototype[method];
  type.prototype[method] = function (...args) {
    const result = original.apply(this, args);
    after.call(this, result, ...args);
    return result;
  };
};
const modules = new WeakMap();
const pipelines = new WeakMap();
const groups = new WeakMap();
const sizes = new WeakMap();
const usages = new WeakMap();
const current = new WeakMap();
let dispatches = [];
let copies = 0;
let submits = 0;
hook(GPUDevice, 'createBuffer', (buffer, { size, usage }) => {
  sizes.set(buffer, size);
  usages.set(buffer, usage);
});
hook(GPUDevice, 'createShaderModule', (module, { code }) => modules.set(module, code));
const pipelineOf = (pipeline, descriptor) => {
  const code = modules.get(descriptor.compute.module);
  const hash = createHash('sha1').update(code).digest('hex').slice(0, 10);
  const file = join(folder, `${hash}.wgsl`);
  if (!existsSync(file)) writeFileSync(file, code);
  const { entryPoint, constants } = descriptor.compute;
  pipelines.set(pipeline, { hash, entryPoint, constants });
};
hook(GPUDevice, 'createComputePipeline', pipelineOf);
hook(GPUDevice, 'createComputePipelineAsync', (promise, descriptor) =>
  promise.then(
    (pipeline) => pipelineOf(pipeline, descriptor),
    (error) => console.error(`${descriptor.label}: ${error.message}`),
  ),
);
hook(GPUDevice, 'createBindGroup', (group, { entries }) => {
  groups.set(
    group,
    entries.map(({ binding, resource }) => {
      const buffer = resource.buffer ?? resource;
      return {
        binding,
        bytes: resource.size ?? sizes.get(buffer) - (resource.offset ?? 0),
        uniform: Boolean(usages.get(buffer) & GPUBufferUsage.UNIFORM),
      };
    }),
  );
});
hook(GPUComputePassEncoder, 'setPipeline', function (_, pipeline) {
  current.set(this, { ...current.get(this), pipeline: pipelines.get(pipeline) });
});
hook(GPUComputePassEncoder, 'setBindGroup', function (_, index, group) {
  current.set(this, { ...current.get(this), bindings: groups.get(group) });
});
hook(GPUComputePassEncoder, 'dispatchWorkgroups', function (_, x, y = 1, z = 1) {
  const { pipeline, bindings } = current.get(this);
  dispatches.push({ ...pipeline, workgroups: [x, y, z], bindings });
});
hook(GPUCommandEncoder, 'copyBufferToBuffer', () => copies++);
hook(GPUQueue, 'submit', () => submits++);
GPUBuffer.prototype.destroy = () => {}; // without the engine's cache, buffers are destroyed before their submit
GPUQueue.prototype.writeBuffer = () => {}; // views of WebAssembly's memory are refused, and nothing is executed

const dist = new URL('node_modules/onnxruntime-web/dist/', import.meta.url).href;
const ort = await import(`${dist}ort.webgpu.min.mjs`);
ort.env.wasm.wasmPaths = dist;
ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'error';
const { name } = options;
const { bytes } = JSON.parse(readFileSync(join(modelsFolder, `${name}.json`), 'utf8'));
const session = await ort.InferenceSession.create(
  new Uint8Array(readFileSync(join(modelsFolder, `${name}.onnx`))),
  {
    executionProviders: [{ name: 'webgpu', storageBufferCacheMode: 'disabled' }], // buffers of the tensors' own sizes
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    externalData: [{ path: `${name}.bin`, data: new Uint8Array(bytes) }],
    extra: { session: { disable_cpu_ep_fallback: '1' } }, // every operator on the GPU, or no session
  },
);
const px = Number(name.split('-')[2]);
const pixels = new ort.Tensor('float32', new Float32Array(3 * px * px), [1, 3, px, px]);
await session.run({ pixel_values: pixels }); // the first run also prepares weights
dispatches = [];
copies = submits = 0;
const result = await session.run({ pixel_values: pixels });
const shape = result.last_hidden_state.dims;
const file = join(folder, `${name}.${options.gpu}.json`);
writeFileSync(file, JSON.stringify({ name, info, shape, submits, copies, dispatches }, null, 1));
const block = blockOf(dispatches);
const bytesOfBlock = block?.reduce((sum, dispatch) => sum + bytesOf(dispatch), 0);
const found = block ? `; a block: ${block.length} dispatches, ${(bytesOfBlock / 1e6).toFixed(1)} MB` : '';
console.log(`${file}: ${dispatches.length} dispatches, ${submits} submits, ${copies} copies${found}`);
process.exit(gpu ? 0 : 1); // uses `gpu`, so that it is not garbage-collected earlier
