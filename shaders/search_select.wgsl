// Which rows may be among a query's best, so that the scores stay on the GPU: two dispatches behind search_scores, with search_floor between them.
// Every score is off by some rounding; the host knows how much at most, and compares what is collected here again, exactly.
//
//   search_maxima   the largest score of each block of rows, as a number whose order is that of the scores
//   search_collect  all rows from the floor on, in any order
//
//   scores   (queries, stride) quads
//   allowed  a bit for each row: 1 if it may be found; read if size.filtered is not 0
//   maxima   (queries, blocks): 0 where no row of a block may be found
//   floors   (queries): search_floor
//   counts   (queries): rows found, zeros before
//   found    (queries, 4 · stride): row, and the bits of its score
//
// From outside: nothing.

@group(0) @binding(0) var<uniform> size: SelectSize;
// search_maxima, search_collect
@group(0) @binding(1) var<storage, read> scores: array<f32>;
@group(0) @binding(2) var<storage, read> allowed: array<u32>;
// search_maxima
@group(0) @binding(3) var<storage, read_write> maxima: array<u32>;
// search_collect
@group(0) @binding(3) var<storage, read> floors: array<f32>;
@group(0) @binding(4) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read_write> found: array<vec2u>;

fn may_be_found(row: u32) -> bool {
  if (size.filtered == 0u) {
    return true;
  }
  let bits = allowed[row / 32u];
  return (bits & (1u << (row % 32u))) != 0u;
}

// One lane per block. Dispatch: (ceil(blocks / 16), queries).
@compute @workgroup_size(16)
fn search_maxima(@builtin(global_invocation_id) id: vec3u) {
  let at = id.x;
  if (at >= size.blocks) {
    return;
  }
  let begin = at * size.block_rows;
  let from_score = id.y * size.stride * 4u;
  var largest = 0u;
  let end = min(begin + size.block_rows, size.count);
  for (var row = begin; row < end; row++) {
    if (may_be_found(row)) {
      largest = max(largest, order_of(scores[from_score + row]));
    }
  }
  maxima[id.y * size.blocks + at] = largest;
}

// One lane per four rows. Dispatch: (ceil(count / 64), queries), in layers along z beyond 65,535.
@compute @workgroup_size(16)
fn search_collect(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let begin = ((workgroup.z * workgroups.x + workgroup.x) * 16u + local.x) * 4u;
  let query = workgroup.y;
  let from_score = query * size.stride * 4u;
  let lowest = floors[query];
  let end = min(begin + 4u, size.count);
  for (var row = begin; row < end; row++) {
    let score = scores[from_score + row];
    if (score >= lowest) {
      if (!may_be_found(row)) {
        continue;
      }
      let at = atomicAdd(&counts[query], 1u);
      found[from_score + at] = vec2u(row, bitcast<u32>(score));
    }
  }
}
