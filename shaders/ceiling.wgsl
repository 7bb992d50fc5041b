// The best rates of an adapter, with which other kernels are compared: multiply-adds in registers, and a
// copy.
//
//   multiply_add: each lane computes eight independent chains of multiply-adds of 8 · ROUNDS steps each.
//     parameters  (2): the factor and the addend of every step
//     sums        (64 · workgroups): the sum of a lane's chains
//   copy: one lane per vec4.
//     source      (64 · workgroups)
//     copied      (64 · workgroups)
//
// Constants: ROUNDS; FUSED (true: a step is `fma`; false: a product and a sum. The faster one depends on the
// driver).
// Workgroups: any (x, y).

@group(0) @binding(0) var<storage, read> parameters: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> copied: array<vec4f>;

fn step4(chains: vec4f, factor: vec4f, addend: vec4f) -> vec4f {
  if (FUSED) {
    return fma(chains, factor, addend);
  }
  return chains * factor + addend;
}

@compute @workgroup_size(64)
fn multiply_add(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = (group.y * groups.x + group.x) * 64u + lane;
  let factor = vec4f(parameters[0]);
  let addend = vec4f(parameters[1]);
  // All chains of all lanes have different values, because a compiler may merge equal chains.
  let first = f32(at % 64u) * 0.001;
  var a = vec4f(first) + vec4f(0.1, 0.2, 0.3, 0.4);
  var b = vec4f(first) + vec4f(0.5, 0.6, 0.7, 0.8);
  for (var round = 0u; round < ROUNDS; round++) {
    a = step4(a, factor, addend);
    b = step4(b, factor, addend);
    a = step4(a, factor, addend);
    b = step4(b, factor, addend);
    a = step4(a, factor, addend);
    b = step4(b, factor, addend);
    a = step4(a, factor, addend);
    b = step4(b, factor, addend);
    a = step4(a, factor, addend);
    b = step4(b, factor, addend);
    a = step4(a, factor, addend);
    b = step4(b, factor, addend);
    a = step4(a, factor, addend);
    b = step4(b, factor, addend);
    a = step4(a, factor, addend);
    b = step4(b, factor, addend);
  }
  let both = a + b;
  sums[at] = both.x + both.y + both.z + both.w;
}

@compute @workgroup_size(64)
fn copy(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = (group.y * groups.x + group.x) * 64u + lane;
  copied[at] = source[at];
}
