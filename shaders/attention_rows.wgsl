// Computes rows of the attention matrix of one image, softmax(q · kᵀ / √64), for consecutive queries and
// consecutive heads. The rows are computed from the queries and keys that a forward pass kept, because a
// forward pass stores no attention matrix.
//
// Entry point attention_rows: each workgroup of 64 lanes computes one row; lane l computes keys l, l + 64, …
// Entry point attention_rows_mean: the mean over the heads; each lane computes one key.
//
//   qkv   (batch · num_tokens, 3 · EMBED_DIM): queries, keys, values; head h has channels 64h … 64h + 63 of each
//   rows  (num_heads, num_queries, num_tokens)
//   mean  (num_queries, num_tokens)
//
// Constants: EMBED_DIM. Workgroups: (num_queries, num_heads) for attention_rows, and (ceil(num_tokens / 64),
// num_queries) for attention_rows_mean.

struct AttentionRows {
  num_tokens: u32,   // tokens of one image
  num_queries: u32,
  num_heads: u32,
  first_token: u32,  // the image's first token in qkv
  first_query: u32,  // index in the image
  first_head: u32,
}

@group(0) @binding(0) var<uniform> size: AttentionRows;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> rows: array<f32>;
// Bindings of the entry point attention_rows_mean only.
@group(0) @binding(1) var<storage, read> head_rows: array<f32>;
@group(0) @binding(2) var<storage, read_write> mean: array<f32>;

const LANES = 64u;
const VECTORS = EMBED_DIM / 4u;
const HEAD_VECTORS = 16u;              // 64 channels
const SCALE = 0.18033688011112042;     // log2(e) / √64: scores are scaled for exp2 instead of exp
const LOWEST = -1e30;                  // less than every score; infinities are not reliable in WGSL

var<workgroup> partials: array<f32, LANES>;

// Returns the maximum (if `largest` is true) or the sum of `value` over all lanes, with the same bits in
// every lane. All lanes of the workgroup must call this function.
fn workgroup_all(lane: u32, value: f32, largest: bool) -> f32 {
  partials[lane] = value;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step = step / 2u) {
    if (lane < step) {
      let a = partials[lane];
      let b = partials[lane + step];
      partials[lane] = select(a + b, max(a, b), largest);
    }
    workgroupBarrier();
  }
  let all = partials[0];
  workgroupBarrier();  // every lane has read the result before the next call writes to `partials`
  return all;
}

@compute @workgroup_size(LANES)
fn attention_rows(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let head = (size.first_head + workgroup.y) * HEAD_VECTORS;
  let query = (size.first_token + size.first_query + workgroup.x) * 3u * VECTORS + head;
  let keys = size.first_token * 3u * VECTORS + VECTORS + head;
  let to = (workgroup.y * size.num_queries + workgroup.x) * size.num_tokens;

  var maximum = LOWEST;
  for (var token = lane; token < size.num_tokens; token += LANES) {
    let key = keys + token * 3u * VECTORS;
    var sums = vec4f();
    for (var d = 0u; d < HEAD_VECTORS; d++) {
      sums = fma(qkv[query + d], qkv[key + d], sums);
    }
    let score = SCALE * dot(sums, vec4f(1.0));
    rows[to + token] = score;
    maximum = max(maximum, score);
  }
  maximum = workgroup_all(lane, maximum, true);

  var sum = 0.0;
  for (var token = lane; token < size.num_tokens; token += LANES) {
    let weight = exp2(rows[to + token] - maximum);
    rows[to + token] = weight;
    sum += weight;
  }
  sum = workgroup_all(lane, sum, false);

  for (var token = lane; token < size.num_tokens; token += LANES) {
    rows[to + token] = rows[to + token] / sum;
  }
}

@compute @workgroup_size(LANES)
fn attention_rows_mean(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= size.num_tokens) {
    return;
  }
  var sum = 0.0;
  for (var head = 0u; head < size.num_heads; head++) {
    sum += head_rows[(head * size.num_queries + id.y) * size.num_tokens + id.x];
  }
  mean[id.y * size.num_tokens + id.x] = sum / f32(size.num_heads);
}
