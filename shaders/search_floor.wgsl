// The score from which on a row may be among a query's best: the k-th largest of the maxima of blocks, which k rows at least reach, less a margin
// that covers the rounding; but not below the lowest score that is wanted at all.
// One workgroup per query. The order of the k-th largest is found bit by bit, from the top: a bit is set if enough maxima reach what it then is.
//
//   maxima  (queries, blocks): search_maxima
//   limits  (queries): the margin, and the lowest score that is wanted
//   floors  (queries)
//
// From outside: IGNORED_BITS, the lowest bits of an order, which are not looked at: with 8 the floor is lower by 2^-15 of itself at most.
// Dispatch: (1, queries).

@group(0) @binding(0) var<uniform> size: SelectSize;
@group(0) @binding(1) var<storage, read> maxima: array<u32>;
@group(0) @binding(2) var<storage, read> limits: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> floors: array<f32>;

const LANES = 64u;

var<workgroup> counted: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn search_floor(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let begin = workgroup.y * size.blocks;
  var order = 0u;
  for (var bit = 32u; bit > IGNORED_BITS; bit--) {
    let higher = order | (1u << (bit - 1u));
    var count = 0u;
    for (var at = local.x; at < size.blocks; at += LANES) {
      count += select(0u, 1u, maxima[begin + at] >= higher);
    }
    counted[local.x] = count;
    workgroupBarrier();
    var sum = 0u;
    for (var lane = 0u; lane < LANES; lane++) {
      sum += counted[lane];
    }
    order = select(order, higher, sum >= size.wanted);
    workgroupBarrier();
  }
  if (local.x == 0u) {
    let limit = limits[workgroup.y];
    // Order 0: there are fewer than k, and all are wanted.
    floors[workgroup.y] = max(select(score_of(order) - limit.x, -3.4e38, order == 0u), limit.y);
  }
}
