// Orthonormalises eight vectors by CholeskyQR: multiplies them by the inverse Cholesky factor of their Gram
// matrix (Stathopoulos and Wu, SIAM J. Sci. Comput. 23 (2002), section 2). The first k results span the same
// space as the first k inputs, as with Gram-Schmidt. One workgroup of 8 × 8 lanes: each lane computes one
// entry of the Gram matrix, then every 64th vec4 of the result.
//
// A vector may be linearly dependent on earlier vectors, up to rounding. In that case, less than the
// fraction DEPENDENT of its squared length remains after orthogonalisation, and f32 cannot compute this
// remainder accurately. The squared pivot is then set to DEPENDENT times the squared length. The resulting
// vector is shorter than 1, but finite and mostly a new direction. After a few iterations its length is 1.
// If the data has fewer than eight directions, the vector stays short. A zero vector stays zero.
//
//   product  (8, EMBED_DIM): the given vectors
//   vectors  (8, EMBED_DIM): the result
//
// Constants: EMBED_DIM (a multiple of 4). Workgroups: 1.

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> vectors: array<vec4f>;

const VECTORS = EMBED_DIM / 4u;
const DEPENDENT = 1e-6;

// The Gram matrix of the given vectors. Its lower triangle is overwritten by the Cholesky factor.
var<workgroup> gram: array<f32, 64>;
// inverse[j * 8 + k]: factor of given vector j in new vector k; zero if j > k.
var<workgroup> inverse: array<f32, 64>;

// Computes row `k` of the Cholesky factor and column `k` of `inverse`. All earlier rows must be finished.
fn factor_row(k: u32) {
  for (var j = 0u; j < k; j++) {
    var value = gram[k * 8u + j];
    for (var i = 0u; i < j; i++) {
      value -= gram[k * 8u + i] * gram[j * 8u + i];
    }
    let pivot = gram[j * 8u + j];
    gram[k * 8u + j] = select(value / pivot, 0.0, pivot == 0.0);
  }
  let square = gram[k * 8u + k];
  var left = square;
  for (var i = 0u; i < k; i++) {
    left -= gram[k * 8u + i] * gram[k * 8u + i];
  }
  let pivot = sqrt(max(left, DEPENDENT * square));
  gram[k * 8u + k] = pivot;
  let scale = select(1.0 / pivot, 0.0, pivot == 0.0);
  for (var j = 0u; j < 8u; j++) {
    var value = 0.0;
    for (var i = j; i < k; i++) {
      value -= inverse[j * 8u + i] * gram[k * 8u + i];
    }
    inverse[j * 8u + k] = select(select(0.0, value * scale, j < k), scale, j == k);
  }
}

@compute @workgroup_size(8, 8)
fn pca_orthonormalize(@builtin(local_invocation_id) local: vec3u) {
  let lane = local.y * 8u + local.x;
  var sum = vec4f();
  for (var i = 0u; i < VECTORS; i++) {
    sum = fma(product[local.y * VECTORS + i], product[local.x * VECTORS + i], sum);
  }
  gram[lane] = (sum.x + sum.y) + (sum.z + sum.w);
  workgroupBarrier();
  if (lane == 0u) {
    for (var k = 0u; k < 8u; k++) {
      factor_row(k);
    }
  }
  workgroupBarrier();
  for (var i = lane; i < VECTORS; i += 64u) {
    for (var k = 0u; k < 8u; k++) {
      var vector = vec4f();
      for (var j = 0u; j <= k; j++) {
        vector = fma(vec4f(inverse[j * 8u + k]), product[j * VECTORS + i], vector);
      }
      vectors[k * VECTORS + i] = vector;
    }
  }
}
