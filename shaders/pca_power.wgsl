// One step of the power iteration with a block of eight vectors, without forming the covariance: product = xᵀ · (x · vectors). That is
// 16 products for every element of x, where the covariance takes EMBED_DIM of them before its first step.
//
//   x         (num_patches, EMBED_DIM), centred
//   vectors   (8, EMBED_DIM)
//   scores    (num_patches, 8)
//   partials  (NUM_CHUNKS, 8, EMBED_DIM): the product over the patches of each chunk
//   product   (8, EMBED_DIM)
//
// From outside: EMBED_DIM (a multiple of 4), NUM_CHUNKS.

@group(0) @binding(0) var<uniform> size: PcaSize;
// pca_scores
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> vectors: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> scores: array<vec4f>;
// pca_partials; binding 1 is x
@group(0) @binding(2) var<storage, read> all_scores: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4f>;
// pca_product
@group(0) @binding(0) var<storage, read> all_partials: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> product: array<vec4f>;

const VECTORS = EMBED_DIM / 4u;
const SHARES = 16u;  // lanes that share four patches, each with every sixteenth vector of their channels

// Sums of a lane: (four groups of four patches, four patches, vectors 0–3 and 4–7, sixteen lanes).
var<workgroup> partial_sums: array<vec4f, 4 * 8 * SHARES>;

// scores = x · vectorsᵀ. One workgroup of 16 × 4 lanes per 16 patches. Dispatch: ceil(num_patches / 16) workgroups, in lines along y beyond 65,535.
@compute @workgroup_size(SHARES, 4)
fn pca_scores(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let first = (workgroup.y * workgroups.x + workgroup.x) * 16u;
  let last = size.num_patches - 1u;
  let token = first + local.y * 4u;
  // Patches past the last one compute the last one again; they are not stored.
  let token0 = min(token, last) * VECTORS;
  let token1 = min(token + 1u, last) * VECTORS;
  let token2 = min(token + 2u, last) * VECTORS;
  let token3 = min(token + 3u, last) * VECTORS;
  var left0 = vec4f();
  var left1 = vec4f();
  var left2 = vec4f();
  var left3 = vec4f();
  var right0 = vec4f();
  var right1 = vec4f();
  var right2 = vec4f();
  var right3 = vec4f();
  for (var i = local.x; i < VECTORS; i += SHARES) {
    let x0 = x[token0 + i];
    let x1 = x[token1 + i];
    let x2 = x[token2 + i];
    let x3 = x[token3 + i];
    let a0 = vectors[i];
    let a1 = vectors[VECTORS + i];
    let a2 = vectors[2u * VECTORS + i];
    let a3 = vectors[3u * VECTORS + i];
    left0 += vec4f(dot(x0, a0), dot(x0, a1), dot(x0, a2), dot(x0, a3));
    left1 += vec4f(dot(x1, a0), dot(x1, a1), dot(x1, a2), dot(x1, a3));
    left2 += vec4f(dot(x2, a0), dot(x2, a1), dot(x2, a2), dot(x2, a3));
    left3 += vec4f(dot(x3, a0), dot(x3, a1), dot(x3, a2), dot(x3, a3));
    let b0 = vectors[4u * VECTORS + i];
    let b1 = vectors[5u * VECTORS + i];
    let b2 = vectors[6u * VECTORS + i];
    let b3 = vectors[7u * VECTORS + i];
    right0 += vec4f(dot(x0, b0), dot(x0, b1), dot(x0, b2), dot(x0, b3));
    right1 += vec4f(dot(x1, b0), dot(x1, b1), dot(x1, b2), dot(x1, b3));
    right2 += vec4f(dot(x2, b0), dot(x2, b1), dot(x2, b2), dot(x2, b3));
    right3 += vec4f(dot(x3, b0), dot(x3, b1), dot(x3, b2), dot(x3, b3));
  }
  let to = local.y * 8u * SHARES + local.x;
  partial_sums[to] = left0;
  partial_sums[to + SHARES] = right0;
  partial_sums[to + 2u * SHARES] = left1;
  partial_sums[to + 3u * SHARES] = right1;
  partial_sums[to + 4u * SHARES] = left2;
  partial_sums[to + 5u * SHARES] = right2;
  partial_sums[to + 6u * SHARES] = left3;
  partial_sums[to + 7u * SHARES] = right3;
  workgroupBarrier();
  // Half of the lanes add up half a patch each.
  let lane = local.y * SHARES + local.x;
  if (lane < 32u && first + lane / 2u <= last) {
    var sum = vec4f();
    for (var share = 0u; share < SHARES; share++) {
      sum += partial_sums[lane * SHARES + share];
    }
    scores[first * 2u + lane] = sum;
  }
}

// partials = xᵀ · scores, chunk by chunk. One lane per four channels of a chunk. Dispatch: (ceil(EMBED_DIM / 256), NUM_CHUNKS).
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

// product = the sum of the partials, in their order. One lane per four channels of a vector. Dispatch: ceil(8 · EMBED_DIM / 256).
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
