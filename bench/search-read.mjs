// Kernels that only read bytes. The time of the fastest kernel is a lower bound for a search on this adapter.

export const READERS = [
  { name: 'words, 16 lanes', type: 'u32', width: 1, lanes: 16, turns: 48 },
  { name: 'words, 64 lanes', type: 'u32', width: 1, lanes: 64, turns: 48 },
  { name: 'vectors of 4 words, 16 lanes', type: 'vec4u', width: 4, lanes: 16, turns: 24 },
  { name: 'vectors of 4 words, 64 lanes', type: 'vec4u', width: 4, lanes: 64, turns: 24 },
];

/**
 * Each iteration of a lane reads four values, next to the values of the neighbouring lanes. Each lane writes
 * one word that depends on the values, so that the compiler cannot remove the reads.
 */
const shader = ({ type, width, lanes, turns }) => `
@group(0) @binding(0) var<storage, read> x: array<${type}>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let group = workgroup.y * workgroups.x + workgroup.x;
  var at = group * ${lanes * turns * 4}u + local.x;
  var sum = ${type}();
  for (var turn = 0u; turn < ${turns}u; turn++) {
    sum ^= x[at];
    sum ^= x[at + ${lanes}u];
    sum ^= x[at + ${2 * lanes}u];
    sum ^= x[at + ${3 * lanes}u];
    at += ${4 * lanes}u;
  }
  out[group * ${lanes}u + local.x] = ${width === 1 ? 'sum' : 'sum.x ^ sum.y ^ sum.z ^ sum.w'};
}`;

/** Returns a function that runs reader i over at least `words` words and waits until the GPU has finished. */
export async function readSetup(device, words) {
  const all = READERS.map((reader) => ({
    ...reader,
    groups: Math.ceil(words / (reader.width * reader.lanes * reader.turns * 4)),
  }));
  const most = Math.max(...all.map(({ groups, width, lanes, turns }) => groups * width * lanes * turns * 4));
  const x = device.createBuffer({ size: 4 * most, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST });
  const block = Uint32Array.from({ length: 1 << 20 }, (_, i) => Math.imul(i, 0x9e3779b9));
  for (let at = 0; at < most; at += block.length)
    device.queue.writeBuffer(x, 4 * at, block, 0, Math.min(block.length, most - at));
  const out = device.createBuffer({
    size: 4 * Math.max(...all.map(({ groups, lanes }) => groups * lanes)),
    usage: GPUBufferUsage.STORAGE,
  });
  const compiled = await Promise.all(
    all.map(async (reader) => {
      const pipeline = await device.createComputePipelineAsync({
        layout: 'auto',
        compute: { module: device.createShaderModule({ code: shader(reader) }) },
      });
      const group = device.createBindGroup({
        layout: pipeline.getBindGroupLayout(0),
        entries: [x, out].map((buffer, binding) => ({ binding, resource: { buffer } })),
      });
      return { pipeline, group, groups: reader.groups };
    }),
  );
  return async (i) => {
    const { pipeline, group, groups } = compiled[i];
    const lines = Math.ceil(groups / 65_535);
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(Math.ceil(groups / lines), lines);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
  };
}
