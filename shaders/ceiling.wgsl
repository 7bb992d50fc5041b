// Measures the highest rates of an adapter, with which other kernels are compared: multiply-adds in
// registers, and copying of a buffer.
//
//   multiply_add: each lane computes eight independent sequences of 8 · ROUNDS multiply-adds. Each multiply-add
//   of a sequence depends on the multiply-add before.
//     parameters  (2): the factor and the addend of every step
//     sums        (64 · workgroups): for each lane, the sum of the results of its eight sequences
//   copy: each lane copies one vec4.
//     source      (64 · workgroups)
//     copied      (64 · workgroups)
//
// Constants: ROUNDS; FUSED (true: a step is one `fma`; false: a product and a sum. Which is faster depends on
// the driver).
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
  // Each sequence of each lane starts from a different value: a compiler could merge sequences with equal
  // values.
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
