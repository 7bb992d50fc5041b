// Counts the values of a tensor that are not finite, for the option `debug: 'check'`. Works on the bits,
// because WGSL allows compilers to assume that floats are finite.
//
//   values  (count): the bits of f32 values
//   found   (tensors, 3): the index of the first value that is not finite, the number of NaN, the number of
//           infinities. The caller sets the index to 2^32 - 1 and the numbers to 0
//
// Workgroups: x · y ≥ ceil(count / 256).

struct Tensor {
  // Number of values.
  count: u32,
  // Row of `found` that receives the result.
  row: u32,
}

@group(0) @binding(0) var<uniform> tensor: Tensor;
@group(0) @binding(1) var<storage, read> values: array<u32>;
@group(0) @binding(2) var<storage, read_write> found: array<atomic<u32>>;

@compute @workgroup_size(256)
fn count_not_finite(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let index = (workgroup.y * workgroups.x + workgroup.x) * 256u + local.x;
  if (index >= tensor.count) {
    return;
  }
  let magnitude = values[index] & 0x7fffffffu;
  if (magnitude < 0x7f800000u) {
    return;
  }
  atomicMin(&found[3u * tensor.row], index);
  atomicAdd(&found[3u * tensor.row + select(1u, 2u, magnitude == 0x7f800000u)], 1u);
}
