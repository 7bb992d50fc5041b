// Finds pairs of stored vectors (rows) whose score is at least `lowest`. Each row of a tile (a) is compared
// with later rows (b). One lane compares one quad (four rows) of a with one quad of b: 16 scores in
// registers. Pairs are appended in any order. Pairs whose rows are already in the same group are left out.
//
//   rows_a, rows_b  (panels, ROW_WORDS, 16) quads of words; see shared/search_rows.wgsl
//   labels          (count): the group of each row
//   found           [0]: number of pairs, initially 0; then up to `capacity` pairs of row indices
//
// Constants: VALUES, WORDS, SIDE (a workgroup has SIDE × SIDE lanes).
// Workgroups: (ceil(quads_b / SIDE), ceil(quads_a / SIDE)).

struct PairsSize {
  // Total number of rows (stored vectors).
  count: u32,
  // The tile a: its first quad in rows_a, its number of quads, and the index of its first quad among all
  // rows.
  first_a: u32,
  quads_a: u32,
  all_a: u32,
  // The rows b: their first quad in rows_b, their number of quads, and the index of the first quad among all
  // rows.
  first_b: u32,
  quads_b: u32,
  all_b: u32,
  // Largest number of pairs that `found` can hold.
  capacity: u32,
  // Minimum score of a pair, as the bits of an f32.
  lowest: u32,
}

@group(0) @binding(0) var<uniform> size: PairsSize;
@group(0) @binding(1) var<storage, read> rows_a: array<vec4u>;
@group(0) @binding(2) var<storage, read> rows_b: array<vec4u>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
@group(0) @binding(4) var<storage, read_write> found: array<atomic<u32>>;

struct Scores {
  a: vec4f,
  b: vec4f,
  c: vec4f,
  d: vec4f,
}

// Decoding an f16 number gives the number times 2^-112 (shared/search_rows.wgsl). Both factors of a product
// are multiplied by 2^112 to correct this.
const FACTOR = select(vec4f(1.0), vec4f(5192296858534827628530496329220096.0), VALUES == 2u);

fn add(x: vec4f, others: vec4f, scores: Scores) -> Scores {
  let y = others * FACTOR;
  let z = x * FACTOR;
  return Scores(fma(vec4f(z.x), y, scores.a), fma(vec4f(z.y), y, scores.b), fma(vec4f(z.z), y, scores.c), fma(vec4f(z.w), y, scores.d));
}

fn append(a: u32, b: u32, score: f32) {
  if (score < bitcast<f32>(size.lowest)) {
    return;
  }
  if (a >= b || b >= size.count) {
    return;
  }
  if (labels[a] == labels[b]) {
    return;
  }
  let at = atomicAdd(&found[0], 1u);
  if (at < size.capacity) {
    atomicStore(&found[1u + 2u * at], a);
    atomicStore(&found[2u + 2u * at], b);
  }
}

fn append4(a: u32, b: u32, scores: vec4f) {
  append(a, b, scores.x);
  append(a, b + 1u, scores.y);
  append(a, b + 2u, scores.z);
  append(a, b + 3u, scores.w);
}

@compute @workgroup_size(SIDE, SIDE)
fn search_pairs(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= size.quads_b || id.y >= size.quads_a) {
    return;
  }
  let row_a = 4u * (size.all_a + id.y);
  let row_b = 4u * (size.all_b + id.x);
  // All pairs of these two quads are below the diagonal: the lane with a and b exchanged finds them.
  if (row_b + 3u <= row_a) {
    return;
  }
  let quad_a = size.first_a + id.y;
  let quad_b = size.first_b + id.x;
  var at_a = quad_a / PANEL_QUADS * ROW_WORDS * PANEL_QUADS + quad_a % PANEL_QUADS;
  var at_b = quad_b / PANEL_QUADS * ROW_WORDS * PANEL_QUADS + quad_b % PANEL_QUADS;
  var scores = Scores();
  for (var k = 0u; k < WORDS; k++) {
    let a = rows_a[at_a];
    let b = rows_b[at_b];
    scores = add(number0(a), number0(b), scores);
    if (VALUES > 1u) {
      scores = add(number1(a), number1(b), scores);
    }
    if (VALUES > 2u) {
      scores = add(number2(a), number2(b), scores);
      scores = add(number3(a), number3(b), scores);
    }
    at_a += PANEL_QUADS;
    at_b += PANEL_QUADS;
  }
  var scale_a = vec4f(1.0);
  var scale_b = vec4f(1.0);
  if (VALUES == 4u) {
    scale_a = bitcast<vec4f>(rows_a[at_a]);
    scale_b = bitcast<vec4f>(rows_b[at_b]);
  }
  append4(row_a, row_b, scores.a * scale_a.x * scale_b);
  append4(row_a + 1u, row_b, scores.b * scale_a.y * scale_b);
  append4(row_a + 2u, row_b, scores.c * scale_a.z * scale_b);
  append4(row_a + 3u, row_b, scores.d * scale_a.w * scale_b);
}
