// Selects the rows (stored vectors) that may be among a query's k best rows, so that not all scores have to
// be read back. The kernels run in the order search_scores, search_maxima, search_floor, search_collect. The
// rounding errors of the scores have a known bound. The CPU computes the scores of the selected rows again in
// float64.
//
//   search_maxima   the largest score of each block of rows, as an integer in the order of scores (order_of)
//   search_collect  all rows with a score of at least the floor, in any order
//
//   scores   (queries, stride) quads: scores of four rows each
//   allowed  one bit per row: 1 if the row may be found. Read only if size.filtered is not 0
//   maxima   (queries, blocks): largest score of each block as an integer; 0 if no row of the block may be found
//   floors   (queries): result of search_floor
//   counts   (queries): number of rows found, initially 0
//   found    (queries, 4 · stride): for each selected row, its index and the bits of its score

@group(0) @binding(0) var<uniform> size: SelectSize;
// Bindings of both entry points, search_maxima and search_collect.
@group(0) @binding(1) var<storage, read> scores: array<vec4f>;
@group(0) @binding(2) var<storage, read> allowed: array<u32>;
// Bindings of the entry point search_maxima only.
@group(0) @binding(3) var<storage, read_write> maxima: array<u32>;
// Bindings of the entry point search_collect only.
@group(0) @binding(3) var<storage, read> floors: array<f32>;
@group(0) @binding(4) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read_write> found: array<vec2u>;

// Returns, for each of the four rows of a quad, true if the row exists and may be found.
fn may_be_found(quad: u32) -> vec4<bool> {
  let row = quad * 4u;
  var bits = 0xfu;
  if (size.filtered != 0u) {
    bits = allowed[row / 32u] >> (row % 32u);
  }
  let flags = (vec4u(bits) & vec4u(1u, 2u, 4u, 8u)) != vec4u();
  return flags & (vec4u(row, row + 1u, row + 2u, row + 3u) < vec4u(size.count));
}

// Each lane computes one block. Workgroups: (ceil(blocks / 16), queries).
@compute @workgroup_size(16)
fn search_maxima(@builtin(global_invocation_id) id: vec3u) {
  let at = id.x;
  if (at >= size.blocks) {
    return;
  }
  let begin = at * size.block_quads;
  let end = min(begin + size.block_quads, (size.count + 3u) / 4u);
  var largest = vec4u();
  for (var quad = begin; quad < end; quad++) {
    largest = max(largest, select(vec4u(), order_of(scores[id.y * size.stride + quad]), may_be_found(quad)));
  }
  maxima[id.y * size.blocks + at] = max(max(largest.x, largest.y), max(largest.z, largest.w));
}

fn collect(query: u32, row: u32, score: f32) {
  let at = atomicAdd(&counts[query], 1u);
  found[query * size.stride * 4u + at] = vec2u(row, bitcast<u32>(score));
}

// Each lane examines one quad. Workgroups: (ceil(count / 64), queries), in several layers along z if more
// than 65,535 are needed along x.
@compute @workgroup_size(16)
fn search_collect(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let quad = (workgroup.z * workgroups.x + workgroup.x) * 16u + local.x;
  let query = workgroup.y;
  if (quad >= (size.count + 3u) / 4u) {
    return;
  }
  let score = scores[query * size.stride + quad];
  let wanted = (score >= vec4f(floors[query])) & may_be_found(quad);
  // For most quads, the lane ends here.
  if (!any(wanted)) {
    return;
  }
  if (wanted.x) {
    collect(query, quad * 4u, score.x);
  }
  if (wanted.y) {
    collect(query, quad * 4u + 1u, score.y);
  }
  if (wanted.z) {
    collect(query, quad * 4u + 2u, score.z);
  }
  if (wanted.w) {
    collect(query, quad * 4u + 3u, score.w);
  }
}
