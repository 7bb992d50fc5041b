// Centres the chosen patches of x: subtracts the mean of the chosen patches from each of them, and sets all
// other patches to zero. Two dispatches: pca_column_sums sums each channel over each chunk of patches, and
// pca_center adds these sums, centres, and sums the squares. The sums of chunks are added in order, so equal
// inputs give equal bits. Each lane computes four channels of a chunk.
//
//   x        (num_patches, EMBED_DIM), changed in place by pca_center
//   chosen   (num_patches): 1 or 0
//   sums     (NUM_CHUNKS, EMBED_DIM): sums over the chosen patches of each chunk
//   mean     (EMBED_DIM)
//   squares  (NUM_CHUNKS, EMBED_DIM): sums of the squared centred values of each chunk
//
// Constants: EMBED_DIM (a multiple of 4), NUM_CHUNKS. Workgroups: (ceil(EMBED_DIM / 256), NUM_CHUNKS).

@group(0) @binding(0) var<uniform> size: PcaSize;
@group(0) @binding(1) var<storage, read> chosen: array<u32>;
// Bindings of the entry point pca_column_sums only.
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> sums: array<vec4f>;
// Bindings of the entry point pca_center only.
@group(0) @binding(2) var<storage, read> all_sums: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> x_centered: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> mean: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> squares: array<vec4f>;

const VECTORS = EMBED_DIM / 4u;

@compute @workgroup_size(64)
fn pca_column_sums(@builtin(global_invocation_id) id: vec3u) {
  let vector = id.x;
  let chunk = id.y;
  if (vector >= VECTORS) {
    return;
  }
  var sum = vec4f();
  for (var token = chunk * size.chunk; token < min((chunk + 1u) * size.chunk, size.num_patches); token++) {
    sum += select(vec4f(), x[token * VECTORS + vector], chosen[token] != 0u);
  }
  sums[chunk * VECTORS + vector] = sum;
}

@compute @workgroup_size(64)
fn pca_center(@builtin(global_invocation_id) id: vec3u) {
  let vector = id.x;
  let chunk = id.y;
  if (vector >= VECTORS) {
    return;
  }
  var sum = vec4f();
  for (var i = 0u; i < NUM_CHUNKS; i++) {
    sum += all_sums[i * VECTORS + vector];
  }
  let center = sum / f32(size.num_chosen);
  if (chunk == 0u) {
    mean[vector] = center;
  }
  var square = vec4f();
  for (var token = chunk * size.chunk; token < min((chunk + 1u) * size.chunk, size.num_patches); token++) {
    let at = token * VECTORS + vector;
    let value = select(vec4f(), x_centered[at] - center, chosen[token] != 0u);
    x_centered[at] = value;
    square = fma(value, value, square);
  }
  squares[chunk * VECTORS + vector] = square;
}
