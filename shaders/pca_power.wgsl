// One step of the power iteration with a block of eight vectors: product = (xᵀ · (x · vectorsᵀ))ᵀ. The
// covariance matrix is not computed: computing it would take EMBED_DIM multiplications for every element of
// x, while a step takes 16.
//
//   x         (num_patches, EMBED_DIM), centred
//   vectors   (8, EMBED_DIM)
//   scores    (num_patches, 8)
//   partials  (NUM_CHUNKS, 8, EMBED_DIM): the product over the patches of each chunk
//   product   (8, EMBED_DIM)
//
// Constants: EMBED_DIM (a multiple of 4), NUM_CHUNKS.

@group(0) @binding(0) var<uniform> size: PcaSize;
// Bindings of the entry point pca_scores.
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> vectors: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> scores: array<vec4f>;
// Bindings of the entry point pca_partials. Its binding 1 is `x`, as declared above.
@group(0) @binding(2) var<storage, read> all_scores: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4f>;
// Bindings of the entry point pca_product.
@group(0) @binding(0) var<storage, read> all_partials: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> product: array<vec4f>;

const VECTORS = EMBED_DIM / 4u;

fn four_scores(value: vec4f, a: vec4f, b: vec4f, c: vec4f, d: vec4f) -> vec4f {
  return vec4f(dot(value, a), dot(value, b), dot(value, c), dot(value, d));
}

// Computes scores = x · vectorsᵀ. Each lane computes the scores of two patches. The kernel uses no barriers:
// on software adapters, barriers are slower than the sums. Workgroups: ceil(num_patches / 32), in several
// lines along y if more than 65,535 are needed.
@compute @workgroup_size(16)
fn pca_scores(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let group = workgroup.y * workgroups.x + workgroup.x;
  let token = (group * 16u + local.x) * 2u;
  if (token >= size.num_patches) {
    return;
  }
  let begin0 = token * VECTORS;
  let begin1 = min(token + 1u, size.num_patches - 1u) * VECTORS;
  var left0 = vec4f();
  var left1 = vec4f();
  var right0 = vec4f();
  var right1 = vec4f();
  for (var i = 0u; i < VECTORS; i++) {
    let x0 = x[begin0 + i];
    let x1 = x[begin1 + i];
    let a = vectors[i];
    let b = vectors[VECTORS + i];
    let c = vectors[2u * VECTORS + i];
    let d = vectors[3u * VECTORS + i];
    left0 += four_scores(x0, a, b, c, d);
    left1 += four_scores(x1, a, b, c, d);
    let e = vectors[4u * VECTORS + i];
    let f = vectors[5u * VECTORS + i];
    let g = vectors[6u * VECTORS + i];
    let h = vectors[7u * VECTORS + i];
    right0 += four_scores(x0, e, f, g, h);
    right1 += four_scores(x1, e, f, g, h);
  }
  scores[token * 2u] = left0;
  scores[token * 2u + 1u] = right0;
  if (token + 1u < size.num_patches) {
    scores[token * 2u + 2u] = left1;
    scores[token * 2u + 3u] = right1;
  }
}

// Computes partials = xᵀ · scores for each chunk. Each lane computes four channels of a chunk. Workgroups:
// (ceil(EMBED_DIM / 256), NUM_CHUNKS).
@compute @workgroup_size(64)
fn pca_partials(@builtin(global_invocation_id) id: vec3u) {
  let vector = id.x;
  let chunk = id.y;
  if (vector >= VECTORS) {
    return;
  }
  var sum0 = vec4f();
  var sum1 = vec4f();
  var sum2 = vec4f();
  var sum3 = vec4f();
  var sum4 = vec4f();
  var sum5 = vec4f();
  var sum6 = vec4f();
  var sum7 = vec4f();
  for (var token = chunk * size.chunk; token < min((chunk + 1u) * size.chunk, size.num_patches); token++) {
    let value = x[token * VECTORS + vector];
    let left = all_scores[token * 2u];
    let right = all_scores[token * 2u + 1u];
    sum0 = fma(vec4f(left.x), value, sum0);
    sum1 = fma(vec4f(left.y), value, sum1);
    sum2 = fma(vec4f(left.z), value, sum2);
    sum3 = fma(vec4f(left.w), value, sum3);
    sum4 = fma(vec4f(right.x), value, sum4);
    sum5 = fma(vec4f(right.y), value, sum5);
    sum6 = fma(vec4f(right.z), value, sum6);
    sum7 = fma(vec4f(right.w), value, sum7);
  }
  let to = chunk * 8u * VECTORS + vector;
  partials[to] = sum0;
  partials[to + VECTORS] = sum1;
  partials[to + 2u * VECTORS] = sum2;
  partials[to + 3u * VECTORS] = sum3;
  partials[to + 4u * VECTORS] = sum4;
  partials[to + 5u * VECTORS] = sum5;
  partials[to + 6u * VECTORS] = sum6;
  partials[to + 7u * VECTORS] = sum7;
}

// Computes product, the sum of `partials` over the chunks, in order. Each lane computes four channels of a
// vector. Workgroups: ceil(8 · EMBED_DIM / 256).
@compute @workgroup_size(64)
fn pca_product(@builtin(global_invocation_id) id: vec3u) {
  let at = id.x;
  if (at >= 8u * VECTORS) {
    return;
  }
  var sum = vec4f();
  for (var chunk = 0u; chunk < NUM_CHUNKS; chunk++) {
    sum += all_partials[chunk * 8u * VECTORS + at];
  }
  product[at] = sum;
}
