// Finds the highest score in each row and in each column of a block of scores. A row is a patch of image a, a
// column is a patch of image b. Among equal scores, the first patch in reading order wins.
//
// A block is searched in two steps. nearest_in_rows and nearest_in_columns split each row or column into
// PARTS parts, and each lane searches a part of one row, or of four neighbouring columns. nearest_merge
// compares the parts of a row or column with the best match of the blocks before. Blocks must come in
// ascending order of rows, and of columns.
//
//   scores    (rows, COLUMNS), of which the first `cols` columns are valid
//   partials  (PARTS, rows), or (PARTS, cols) for columns: the best match within each part
//   nearest   the best match of each patch of an image so far, initially with scores below any cosine
//
// Constants: COLUMNS (a multiple of 4), PARTS. Workgroups: nearest_in_rows (ceil(rows / 64), PARTS),
// nearest_in_columns (ceil(cols / 256), PARTS), nearest_merge ceil(count / 64).

struct NearestSize {
  rows: u32,
  cols: u32,
  first_row: u32,  // patch of a in the block's first row
  first_col: u32,  // patch of b in the block's first column
}

struct MergeSize {
  count: u32,  // rows or columns of the block
  first: u32,  // patch in the first row or column
}

struct Match {
  score: f32,
  index: u32,
}

// Bindings of nearest_in_rows and nearest_in_columns.
@group(0) @binding(0) var<uniform> size: NearestSize;
@group(0) @binding(1) var<storage, read> scores: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> partials: array<Match>;
// Bindings of nearest_merge.
@group(0) @binding(0) var<uniform> merge_size: MergeSize;
@group(0) @binding(1) var<storage, read> all_partials: array<Match>;
@group(0) @binding(2) var<storage, read_write> nearest: array<Match>;

const VECTORS = COLUMNS / 4u;
const LOWEST = -2.0;  // below any cosine

// Returns the better of two matches. If both scores are equal, returns the match with the lower index.
fn better(one: Match, other: Match) -> Match {
  let takes_other = other.score > one.score || (other.score == one.score && other.index < one.index);
  return Match(select(one.score, other.score, takes_other), select(one.index, other.index, takes_other));
}

@compute @workgroup_size(64)
fn nearest_in_rows(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x;
  if (row >= size.rows) {
    return;
  }
  let vectors = (size.cols + 3u) / 4u;
  let length = (vectors + PARTS - 1u) / PARTS;
  var best = vec4f(LOWEST);
  var at = vec4u();
  for (var i = id.y * length; i < min((id.y + 1u) * length, vectors); i++) {
    let cols = vec4u(4u * i) + vec4u(0u, 1u, 2u, 3u);
    let found = select(vec4f(LOWEST), scores[row * VECTORS + i], cols < vec4u(size.cols));
    let higher = found > best;
    best = select(best, found, higher);
    at = select(at, cols, higher);
  }
  let left = better(Match(best.x, at.x), Match(best.y, at.y));
  let right = better(Match(best.z, at.z), Match(best.w, at.w));
  let all = better(left, right);
  partials[id.y * size.rows + row] = Match(all.score, size.first_col + all.index);
}

@compute @workgroup_size(64)
fn nearest_in_columns(@builtin(global_invocation_id) id: vec3u) {
  let col = 4u * id.x;
  if (col >= size.cols) {
    return;
  }
  let length = (size.rows + PARTS - 1u) / PARTS;
  var best = vec4f(LOWEST);
  var at = vec4u();
  for (var row = id.y * length; row < min((id.y + 1u) * length, size.rows); row++) {
    let found = scores[row * VECTORS + id.x];
    let higher = found > best;
    best = select(best, found, higher);
    at = select(at, vec4u(row), higher);
  }
  let to = id.y * size.cols + col;
  let rows = at + vec4u(size.first_row);
  partials[to] = Match(best.x, rows.x);
  if (col + 1u < size.cols) {
    partials[to + 1u] = Match(best.y, rows.y);
  }
  if (col + 2u < size.cols) {
    partials[to + 2u] = Match(best.z, rows.z);
  }
  if (col + 3u < size.cols) {
    partials[to + 3u] = Match(best.w, rows.w);
  }
}

@compute @workgroup_size(64)
fn nearest_merge(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= merge_size.count) {
    return;
  }
  var best = nearest[merge_size.first + id.x];
  for (var part = 0u; part < PARTS; part++) {
    let found = all_partials[part * merge_size.count + id.x];
    if (found.score > best.score) {
      best = found;
    }
  }
  nearest[merge_size.first + id.x] = best;
}
