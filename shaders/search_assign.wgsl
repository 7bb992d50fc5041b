// Finds the nearest cluster centre of each stored vector: the centre with the highest score, that score, and
// the second highest score. If the two scores are close, the CPU computes them again in float64. Each lane
// computes one quad (four stored vectors, called rows), four centres at a time, without barriers.
//
//   rows      (panels, ROW_WORDS, 16) quads of words; see shared/search_rows.wgsl
//   centers   (ceil(num_centers / 4), VALUES · WORDS): numbers of four centres; for f16, each number times
//             2^112. Padding after the last centre is ignored
//   nearest   quads of centre indices, written from size.first
//   highest   quads of scores, written from size.first
//   second    quads of scores, written from size.first
//
// Constants: VALUES, WORDS, WORKGROUP. Workgroups: ceil(quads / WORKGROUP), in several lines along y if more
// than 65,535 are needed.

struct AssignSize {
  quads: u32,
  // Index in the results of the first quad of this dispatch.
  first: u32,
  num_centers: u32,
}

@group(0) @binding(0) var<uniform> size: AssignSize;
@group(0) @binding(1) var<storage, read> rows: array<vec4u>;
@group(0) @binding(2) var<storage, read> centers: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> nearest: array<vec4u>;
@group(0) @binding(4) var<storage, read_write> highest: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> second: array<vec4f>;

struct Best {
  index: vec4u,
  first: vec4f,
  second: vec4f,
}

struct Scores4 {
  a: vec4f,
  b: vec4f,
  c: vec4f,
  d: vec4f,
}

fn add_centers(x: vec4f, center: vec4f, scores: Scores4) -> Scores4 {
  return Scores4(fma(x, vec4f(center.x), scores.a), fma(x, vec4f(center.y), scores.b), fma(x, vec4f(center.z), scores.c), fma(x, vec4f(center.w), scores.d));
}

fn with_center(best: Best, center: u32, scores: vec4f) -> Best {
  if (center >= size.num_centers) {
    return best;
  }
  let higher = scores > best.first;
  return Best(select(best.index, vec4u(center), higher), max(best.first, scores), select(max(best.second, scores), best.first, higher));
}

@compute @workgroup_size(WORKGROUP)
fn search_assign(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let quad = (workgroup.y * workgroups.x + workgroup.x) * WORKGROUP + local.x;
  if (quad >= size.quads) {
    return;
  }
  let begin = quad / PANEL_QUADS * ROW_WORDS * PANEL_QUADS + quad % PANEL_QUADS;
  var scale = vec4f(1.0);
  if (VALUES == 4u) {
    scale = bitcast<vec4f>(rows[begin + WORDS * PANEL_QUADS]);
  }
  var best = Best(vec4u(), vec4f(-3.4e38), vec4f(-3.4e38));
  for (var center = 0u; center < size.num_centers; center += 4u) {
    var at = begin;
    var number = center / 4u * VALUES * WORDS;
    var scores = Scores4();
    for (var k = 0u; k < WORDS; k++) {
      let words = rows[at];
      scores = add_centers(number0(words), centers[number], scores);
      if (VALUES > 1u) {
        scores = add_centers(number1(words), centers[number + 1u], scores);
      }
      if (VALUES > 2u) {
        scores = add_centers(number2(words), centers[number + 2u], scores);
        scores = add_centers(number3(words), centers[number + 3u], scores);
      }
      at += PANEL_QUADS;
      number += VALUES;
    }
    best = with_center(best, center, scores.a * scale);
    best = with_center(best, center + 1u, scores.b * scale);
    best = with_center(best, center + 2u, scores.c * scale);
    best = with_center(best, center + 3u, scores.d * scale);
  }
  nearest[size.first + quad] = best.index;
  highest[size.first + quad] = best.first;
  second[size.first + quad] = best.second;
}
