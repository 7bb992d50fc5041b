// Computes the dot products of stored vectors (rows) with one query, or with four queries. Each word of the
// rows is read once. Each lane computes the scores of two quads (groups of four rows) in neighbouring panels,
// without barriers.
//
//   rows     (panels, ROW_WORDS, 16) quads of words; see shared/search_rows.wgsl
//   query    (VALUES · WORDS) numbers; for f16, each number times 2^112. A uniform, because software adapters
//            read uniforms faster
//   query4   (VALUES · WORDS) vec4 with the numbers of four queries (search_scores4)
//   scores   (queries, stride) quads, written from size.first
//
// Constants: VALUES, WORDS, WORKGROUP (8 on software adapters, 64 on GPUs).
// Workgroups: ceil(quads / (2 · WORKGROUP)), in several lines along y if more than 65,535 are needed.

struct SearchSize {
  // Number of quads in `rows`, a multiple of 32.
  quads: u32,
  // Index in `scores` of the first quad of `rows`.
  first: u32,
  // Quads per query in `scores`.
  stride: u32,
}

@group(0) @binding(0) var<uniform> size: SearchSize;
@group(0) @binding(1) var<storage, read> rows: array<vec4u>;
// Binding 2 of the entry point search_scores.
@group(0) @binding(2) var<uniform> query: array<vec4f, VALUES * WORDS / 4u>;
// Binding 2 of the entry point search_scores4. Binding 3 belongs to both entry points.
@group(0) @binding(2) var<storage, read> query4: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> scores: array<vec4f>;

struct Sums4 {
  a: vec4f,
  b: vec4f,
  c: vec4f,
  d: vec4f,
}

// Returns the sum of `start` and the products of the numbers in two consecutive words (two, four or eight
// numbers per row) with the corresponding numbers of the query.
fn multiply(left: vec4u, right: vec4u, q0: vec4f, q1: vec4f, start: vec4f) -> vec4f {
  var sum = fma(number0(left), vec4f(q0.x), start);
  if (VALUES == 1u) {
    return fma(number0(right), vec4f(q0.y), sum);
  }
  sum = fma(number1(left), vec4f(q0.y), sum);
  if (VALUES == 2u) {
    sum = fma(number0(right), vec4f(q0.z), sum);
    return fma(number1(right), vec4f(q0.w), sum);
  }
  sum = fma(number2(left), vec4f(q0.z), sum);
  sum = fma(number3(left), vec4f(q0.w), sum);
  sum = fma(number0(right), vec4f(q1.x), sum);
  sum = fma(number1(right), vec4f(q1.y), sum);
  sum = fma(number2(right), vec4f(q1.z), sum);
  return fma(number3(right), vec4f(q1.w), sum);
}

fn add4(x: vec4f, queries: vec4f, sums: Sums4) -> Sums4 {
  return Sums4(fma(x, vec4f(queries.x), sums.a), fma(x, vec4f(queries.y), sums.b), fma(x, vec4f(queries.z), sums.c), fma(x, vec4f(queries.w), sums.d));
}

fn multiply4(words: vec4u, number: u32, start: Sums4) -> Sums4 {
  var sums = add4(number0(words), query4[number], start);
  if (VALUES > 1u) {
    sums = add4(number1(words), query4[number + 1u], sums);
  }
  if (VALUES > 2u) {
    sums = add4(number2(words), query4[number + 2u], sums);
    sums = add4(number3(words), query4[number + 3u], sums);
  }
  return sums;
}

// Returns the scales of four int8 rows; 1 for f32 and f16.
fn scales(at: u32) -> vec4f {
  if (VALUES == 4u) {
    return bitcast<vec4f>(rows[at]);
  }
  return vec4f(1.0);
}

// Returns the index of the first of a lane's two quads. The index of the second quad is larger by
// PANEL_QUADS.
fn first_quad(lane: u32) -> u32 {
  return lane / PANEL_QUADS * (2u * PANEL_QUADS) + lane % PANEL_QUADS;
}

@compute @workgroup_size(WORKGROUP)
fn search_scores(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let quad = first_quad((workgroup.y * workgroups.x + workgroup.x) * WORKGROUP + local.x);
  if (quad >= size.quads) {
    return;
  }
  var a = quad / PANEL_QUADS * ROW_WORDS * PANEL_QUADS + quad % PANEL_QUADS;
  var b = a + ROW_WORDS * PANEL_QUADS;
  var sum_a = vec4f();
  var sum_b = vec4f();
  for (var k = 0u; k < WORDS; k += 2u) {
    var q0 = query[k * VALUES / 4u];
    var q1 = q0;
    if (VALUES == 1u) {
      q0 = select(q0, q0.zwxy, k % 4u == 2u);
    }
    if (VALUES == 4u) {
      q1 = query[k + 1u];
    }
    sum_a = multiply(rows[a], rows[a + PANEL_QUADS], q0, q1, sum_a);
    sum_b = multiply(rows[b], rows[b + PANEL_QUADS], q0, q1, sum_b);
    a += 2u * PANEL_QUADS;
    b += 2u * PANEL_QUADS;
  }
  scores[size.first + quad] = sum_a * scales(a);
  scores[size.first + quad + PANEL_QUADS] = sum_b * scales(b);
}

fn store4(quad: u32, sums: Sums4, scale: vec4f) {
  let at = size.first + quad;
  scores[at] = sums.a * scale;
  scores[at + size.stride] = sums.b * scale;
  scores[at + 2u * size.stride] = sums.c * scale;
  scores[at + 3u * size.stride] = sums.d * scale;
}

@compute @workgroup_size(WORKGROUP)
fn search_scores4(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let quad = first_quad((workgroup.y * workgroups.x + workgroup.x) * WORKGROUP + local.x);
  if (quad >= size.quads) {
    return;
  }
  var a = quad / PANEL_QUADS * ROW_WORDS * PANEL_QUADS + quad % PANEL_QUADS;
  var b = a + ROW_WORDS * PANEL_QUADS;
  var sums_a = Sums4();
  var sums_b = Sums4();
  for (var k = 0u; k < WORDS; k++) {
    sums_a = multiply4(rows[a], k * VALUES, sums_a);
    sums_b = multiply4(rows[b], k * VALUES, sums_b);
    a += PANEL_QUADS;
    b += PANEL_QUADS;
  }
  store4(quad, sums_a, scales(a));
  store4(quad + PANEL_QUADS, sums_b, scales(b));
}
