// Computes a lower bound (`floor`) of the scores of a query's k best rows (stored vectors). `search_maxima`
// gives the maximum score of each block of rows. The floor is the k-th largest of these maxima, which at
// least k rows reach, minus a margin for rounding. The floor is at least the query's minimum score.
//
// Each workgroup computes the floor of one query. The maxima are integers in the order of scores
// (`order_of`). The k-th largest maximum is found bit by bit, from the highest bit: a bit is set if at least
// k maxima are not less than the resulting number.
//
//   maxima  (queries, blocks): result of search_maxima
//   limits  (queries): the margin, and the minimum score
//   floors  (queries)
//
// Constants: IGNORED_BITS, the number of low bits of the integer that are left 0. With 8, the floor is lower
// by at most 2^-15 of its value. Workgroups: (1, queries).

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
    // If `order` is 0, fewer than k blocks contain a row that the search may return. In that case, the floor
    // is the minimum score.
    floors[workgroup.y] = max(select(score_of(order) - limit.x, -3.4e38, order == 0u), limit.y);
  }
}
