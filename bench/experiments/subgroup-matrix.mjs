// Experiment: what a linear layer needs to use Chromium's experimental subgroup matrices. Prints which configurations the
// adapter offers, and whether Dawn accepts a layer with each type and size. Dawn's null backend checks types and sizes of
// workgroups, but executes nothing, so no GPU is needed.
//
//   node bench/experiments/subgroup-matrix.mjs [--backend null | vulkan]
import { parseArgs } from 'node:util';
import { create, globals } from 'webgpu';

const { values } = parseArgs({ options: { backend: { type: 'string', default: 'null' } } });
Object.assign(globalThis, globals);
const gpu = create([`backend=${values.backend}`, 'enable-dawn-features=allow_unsafe_apis']);
const adapter = await gpu.requestAdapter();
const FEATURE = 'chromium-experimental-subgroup-matrix';
const { description, subgroupMinSize, subgroupMaxSize, subgroupMatrixConfigs } = adapter.info;
console.log(`${description || values.backend}: subgroups of ${subgroupMinSize} to ${subgroupMaxSize} lanes;`);
if (!adapter.features.has(FEATURE)) {
  console.log(`the adapter has no ${FEATURE}.`);
  process.exit(gpu ? 0 : 1);
}
console.log(`configurations: ${JSON.stringify([...(subgroupMatrixConfigs ?? [])])}\n`);
const device = await adapter.requestDevice({ requiredFeatures: [FEATURE, 'subgroups', 'shader-f16'] });
device.addEventListener?.('uncapturederror', () => undefined); // reported below

/**
 * A linear layer: x staged in workgroup memory as `operand`, weights read from our panels (k, 64 columns), which are the
 * rows that the load of a right matrix expects. A subgroup computes 32 × 32 values, four matrices in both directions.
 */
const layer = (operand, sum, size, lanes) => `
enable chromium_experimental_subgroup_matrix;
enable f16;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<${operand}>;
@group(0) @binding(2) var<storage, read_write> out: array<${sum}>;
const K = 384u;
var<workgroup> tile: array<${operand}, 32 * ${size}>;
@compute @workgroup_size(${lanes})
fn linear(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
${[...Array((32 / size) ** 2).keys()].map((i) => `  var sum${i}: subgroup_matrix_result<${sum}, ${size}, ${size}>;`).join('\n')}
  for (var k = 0u; k < K; k += ${size}u) {
    for (var i = lane; i < ${32 * size}u; i += ${lanes}u) {
      tile[i] = ${operand}(x[(group.y * 32u + i / ${size}u) * K + k + i % ${size}u]);
    }
    workgroupBarrier();
${[...Array(32 / size).keys()].map((i) => `    let left${i} = subgroupMatrixLoad<subgroup_matrix_left<${operand}, ${size}, ${size}>>(&tile, ${i * size * size}u, false, ${size}u);`).join('\n')}
${[...Array(32 / size).keys()].map((i) => `    let right${i} = subgroupMatrixLoad<subgroup_matrix_right<${operand}, ${size}, ${size}>>(&weight, k * 64u + ${i * size}u, false, 64u);`).join('\n')}
${[...Array((32 / size) ** 2).keys()].map((i) => `    sum${i} = subgroupMatrixMultiplyAccumulate(left${Math.floor((i * size) / 32)}, right${i % (32 / size)}, sum${i});`).join('\n')}
    workgroupBarrier();
  }
${[...Array((32 / size) ** 2).keys()].map((i) => `  subgroupMatrixStore(&out, (group.y * 32u + ${Math.floor((i * size) / 32) * size}u) * 64u + ${(i % (32 / size)) * size}u, sum${i}, false, 64u);`).join('\n')}
}`;

console.log('| operands | sums | size | lanes of a workgroup | Dawn |\n|---|---|---|---|---|');
for (const [operand, sum] of [
  ['f32', 'f32'],
  ['f16', 'f32'],
  ['f16', 'f16'],
])
  for (const size of [8, 16])
    for (const lanes of [32, subgroupMaxSize]) {
      const module = device.createShaderModule({ code: layer(operand, sum, size, lanes) });
      const outcome = await device
        .createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'linear' } })
        .then(
          () => 'accepted',
          ({ message }) => message.split('\n').filter(Boolean).slice(0, 2).join(' '),
        );
      console.log(`| ${operand} | ${sum} | ${size} × ${size} × ${size} | ${lanes} | ${outcome} |`);
    }
process.exit(0);
