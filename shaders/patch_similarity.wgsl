// Cosine similarity of patches with a query. The query is one unit vector: the weighted sum of the directions of
// the chosen patches, scaled to length 1. Three dispatches: similarity_sums adds the weighted directions of 16
// chosen patches a workgroup, similarity_query adds these sums in order and scales, and similarity_map computes
// the cosine of each patch with the query. Sums are f32 in a fixed order, so equal inputs give equal bits.
//
// A vector record is EMBED_DIM / 4 vec4f, then one vec4f whose x is 1 if a value that the vector was made from is
// NaN or infinite, else 0. A token whose squared length is above the range of f32 counts as infinite. A token of
// zeros has no direction: it adds nothing, and its similarity is 0.
//
//   x        (tokens, EMBED_DIM)
//   chosen   (size.count): tokens of x with weights
//   sums     (ceil(size.count / 16)): vector records
//   query    one vector record
//   values   (size.count) f32, written as bits: the cosines; NaN if the patch or the query is not finite
//
// Constants: EMBED_DIM (a multiple of 4). Workgroups: similarity_sums ceil(count / 16), similarity_query 1,
// similarity_map ceil(count / 4).

struct SimilaritySize {
  first_token: u32,  // similarity_map: token of the image's first item
  count: u32,        // number of chosen patches; similarity_map: number of patches of the image
}

struct Chosen {
  token: u32,
  weight: f32,
}

@group(0) @binding(0) var<uniform> size: SimilaritySize;
// Bindings of the entry point similarity_sums only.
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> chosen: array<Chosen>;
@group(0) @binding(3) var<storage, read_write> sums: array<vec4f>;
// Bindings of the entry point similarity_query only.
@group(0) @binding(1) var<storage, read> all_sums: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> query: array<vec4f>;
// Bindings of the entry point similarity_map only. Binding 1 is x.
@group(0) @binding(2) var<storage, read> unit: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> values: array<u32>;

const VECTORS = EMBED_DIM / 4u;
const RECORD = VECTORS + 1u;
const INFINITE_BITS = 0x7f800000u;
const NAN_BITS = 0x7fc00000u;
const SMALLEST_NORMAL = 1.1754944e-38;

var<workgroup> squares: array<f32, 64>;
var<workgroup> products: array<f32, 64>;
var<workgroup> flags: array<u32, 64>;
var<workgroup> scales: array<f32, 16>;

// Returns 1 if a value is NaN or infinite. Tests the bits, because a compiler may assume that values are finite.
fn not_finite(value: vec4f) -> u32 {
  let bits = bitcast<vec4u>(value) & vec4u(INFINITE_BITS);
  return u32(any(bits == vec4u(INFINITE_BITS)));
}

fn total(value: vec4f) -> f32 {
  return (value.x + value.y) + (value.z + value.w);
}

// Returns 1 / sqrt(square), or 0 for a square of zero. A Newton step removes the error of inverseSqrt, which may be
// several units in the last place.
fn inverse_length(square: f32) -> f32 {
  let root = inverseSqrt(max(square, SMALLEST_NORMAL));
  let better = fma(0.5 * root, fma(-square * root, root, 1.0), root);
  return select(0.0, better, square >= SMALLEST_NORMAL);
}

// Four lanes compute the length of one patch, then each lane sums the columns i = lane, lane + 64, … of all patches.
@compute @workgroup_size(64)
fn similarity_sums(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
  let first = workgroup.x * 16u;
  let here = min(16u, size.count - first);
  let item = lane / 4u;
  var square = vec4f();
  var flag = 0u;
  if (item < here) {
    let begin = chosen[first + item].token * VECTORS;
    for (var i = lane % 4u; i < VECTORS; i += 4u) {
      let value = x[begin + i];
      square = fma(value, value, square);
      flag |= not_finite(value);
    }
  }
  squares[lane] = total(square);
  flags[lane] = flag;
  workgroupBarrier();
  if (lane < here) {
    let length = (squares[4u * lane] + squares[4u * lane + 1u]) + (squares[4u * lane + 2u] + squares[4u * lane + 3u]);
    scales[lane] = chosen[first + lane].weight * inverse_length(length);
    flags[4u * lane] |= not_finite(vec4f(length));
  }
  workgroupBarrier();
  let out = workgroup.x * RECORD;
  for (var i = lane; i < VECTORS; i += 64u) {
    var sum = vec4f();
    for (var k = 0u; k < here; k++) {
      sum = fma(vec4f(scales[k]), x[chosen[first + k].token * VECTORS + i], sum);
    }
    sums[out + i] = sum;
  }
  if (lane == 0u) {
    var any_flag = 0u;
    for (var k = 0u; k < 64u; k++) {
      any_flag |= flags[k];
    }
    sums[out + VECTORS] = vec4f(f32(any_flag), 0.0, 0.0, 0.0);
  }
}

// Each lane adds and scales the columns i = lane, lane + 64, …; all lanes need the length of the whole vector.
@compute @workgroup_size(64)
fn similarity_query(@builtin(local_invocation_index) lane: u32) {
  let chunks = (size.count + 15u) / 16u;
  var square = vec4f();
  for (var i = lane; i < VECTORS; i += 64u) {
    var sum = vec4f();
    for (var chunk = 0u; chunk < chunks; chunk++) {
      sum += all_sums[chunk * RECORD + i];
    }
    query[i] = sum;
    square = fma(sum, sum, square);
  }
  squares[lane] = total(square);
  workgroupBarrier();
  var length = 0.0;
  for (var k = 0u; k < 64u; k++) {
    length += squares[k];
  }
  let scale = inverse_length(length);
  for (var i = lane; i < VECTORS; i += 64u) {
    query[i] *= scale;
  }
  if (lane == 0u) {
    var flag = 0.0;
    for (var chunk = 0u; chunk < chunks; chunk++) {
      flag = max(flag, all_sums[chunk * RECORD + VECTORS].x);
    }
    query[VECTORS] = vec4f(flag, 0.0, 0.0, 0.0);
  }
}

// Sixteen lanes compute one patch.
@compute @workgroup_size(64)
fn similarity_map(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
  let item = workgroup.x * 4u + lane / 16u;
  var product = vec4f();
  var square = vec4f();
  var flag = 0u;
  if (item < size.count) {
    let begin = (size.first_token + item) * VECTORS;
    for (var i = lane % 16u; i < VECTORS; i += 16u) {
      let value = x[begin + i];
      product = fma(value, unit[i], product);
      square = fma(value, value, square);
      flag |= not_finite(value);
    }
  }
  products[lane] = total(product);
  squares[lane] = total(square);
  flags[lane] = flag;
  workgroupBarrier();
  if (lane % 16u == 0u && item < size.count) {
    var cosine = 0.0;
    var length = 0.0;
    var any_flag = 0u;
    for (var k = lane; k < lane + 16u; k++) {
      cosine += products[k];
      length += squares[k];
      any_flag |= flags[k];
    }
    cosine *= inverse_length(length);
    any_flag |= not_finite(vec4f(length)) | u32(unit[VECTORS].x != 0.0);
    values[item] = select(bitcast<u32>(cosine), NAN_BITS, any_flag != 0u);
  }
}
