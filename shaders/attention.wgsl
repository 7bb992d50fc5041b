// Multi-head attention of every image with itself: softmax(q · kᵀ / √64) · v, with the softmax taken online; no matrix of scores is stored.
// (Dao et al., "FlashAttention", arXiv 2205.14135, algorithm 1; Milakov and Gimelshein, arXiv 1805.02867.)
// One workgroup of 8 × 8 lanes per 32 queries of one head of one image; keys come in tiles of 32. A lane owns 4 queries × 4 keys of the scores and
// 4 queries × 8 channels of the result. Maximum, sum and result are f32. Workgroup memory: 16 KiB, all that WebGPU promises.
//
//   qkv  (batch · num_tokens, 3 · EMBED_DIM): queries, keys, values; head h has channels 64h … 64h + 63 of each
//   out  (batch · num_tokens, EMBED_DIM)
//
// From outside: EMBED_DIM. Dispatch: (ceil(num_tokens / 32), heads, batch).

@group(0) @binding(0) var<uniform> size: ForwardSize;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

const VECTORS = EMBED_DIM / 4u;
const HEAD_VECTORS = 16u;              // 64 channels
const GROUPS = 8u;                     // groups of 4 queries, or of 4 keys, in a tile
const SCALE = 0.18033688011112042;     // log2(e) / √64: scores are in units of log2, so that exp2 serves
const MASKED = -1e30;                  // a score no key has; infinities are not reliable in WGSL

// tile_q[d * GROUPS + g]: queries 4g … 4g + 3 at channel d.
var<workgroup> tile_q: array<vec4f, 64 * GROUPS>;
// By turns: 32 channels of the keys (as tile_q), partial maxima or sums, 16 values' rows.
var<workgroup> tile_kv: array<vec4f, 32 * GROUPS>;
// tile_p[key * GROUPS + g]: exp2(score - maximum) of queries 4g … 4g + 3.
var<workgroup> tile_p: array<vec4f, 32 * GROUPS>;

// Writes four rows' worth of four channels so that each vector holds one channel of the four.
fn store_q(d: u32, group: u32, a0: vec4f, a1: vec4f, a2: vec4f, a3: vec4f) {
  tile_q[d * GROUPS + group] = vec4f(a0.x, a1.x, a2.x, a3.x);
  tile_q[(d + 1u) * GROUPS + group] = vec4f(a0.y, a1.y, a2.y, a3.y);
  tile_q[(d + 2u) * GROUPS + group] = vec4f(a0.z, a1.z, a2.z, a3.z);
  tile_q[(d + 3u) * GROUPS + group] = vec4f(a0.w, a1.w, a2.w, a3.w);
}

fn store_k(d: u32, group: u32, a0: vec4f, a1: vec4f, a2: vec4f, a3: vec4f) {
  tile_kv[d * GROUPS + group] = vec4f(a0.x, a1.x, a2.x, a3.x);
  tile_kv[(d + 1u) * GROUPS + group] = vec4f(a0.y, a1.y, a2.y, a3.y);
  tile_kv[(d + 2u) * GROUPS + group] = vec4f(a0.z, a1.z, a2.z, a3.z);
  tile_kv[(d + 3u) * GROUPS + group] = vec4f(a0.w, a1.w, a2.w, a3.w);
}

@compute @workgroup_size(8, 8)
fn attention(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.y * 8u + local.x;
  let last = size.num_tokens - 1u;
  // Row `t` of this image's queries at this head is qkv[first + t * 3 * VECTORS …]; its keys are VECTORS on, its values 2 * VECTORS on.
  let first = workgroup.z * size.num_tokens * 3u * VECTORS + workgroup.y * HEAD_VECTORS;
  let query = workgroup.x * 32u + local.y * 4u;  // the first of the lane's four

  for (var half = 0u; half < 2u; half++) {
    let vector = half * 8u + local.x;
    let a0 = SCALE * qkv[first + min(query, last) * 3u * VECTORS + vector];
    let a1 = SCALE * qkv[first + min(query + 1u, last) * 3u * VECTORS + vector];
    let a2 = SCALE * qkv[first + min(query + 2u, last) * 3u * VECTORS + vector];
    let a3 = SCALE * qkv[first + min(query + 3u, last) * 3u * VECTORS + vector];
    store_q(vector * 4u, local.y, a0, a1, a2, a3);
  }

  var maximum = vec4f(MASKED);  // of the lane's four queries, over all keys so far
  var sum = vec4f();            // of the four queries, over the lane's own keys
  var left0 = vec4f();
  var left1 = vec4f();
  var left2 = vec4f();
  var left3 = vec4f();
  var right0 = vec4f();
  var right1 = vec4f();
  var right2 = vec4f();
  var right3 = vec4f();

  let num_tiles = (size.num_tokens + 31u) / 32u;
  for (var tile = 0u; tile < num_tiles; tile++) {
    let key = tile * 32u + local.x * 4u;  // the first of the lane's four, of the scores
    var score0 = vec4f();
    var score1 = vec4f();
    var score2 = vec4f();
    var score3 = vec4f();
    for (var half = 0u; half < 2u; half++) {
      let stored = tile * 32u + local.y * 4u;
      let base = first + VECTORS + half * 8u + local.x;
      let a0 = qkv[base + min(stored, last) * 3u * VECTORS];
      let a1 = qkv[base + min(stored + 1u, last) * 3u * VECTORS];
      let a2 = qkv[base + min(stored + 2u, last) * 3u * VECTORS];
      let a3 = qkv[base + min(stored + 3u, last) * 3u * VECTORS];
      workgroupBarrier();  // everybody is done with what tile_kv held
      store_k(local.x * 4u, local.y, a0, a1, a2, a3);
      workgroupBarrier();
      for (var d = 0u; d < 32u; d++) {
        let q = tile_q[(half * 32u + d) * GROUPS + local.y];
        let k = tile_kv[d * GROUPS + local.x];
        score0 = fma(q, vec4f(k.x), score0);
        score1 = fma(q, vec4f(k.y), score1);
        score2 = fma(q, vec4f(k.z), score2);
        score3 = fma(q, vec4f(k.w), score3);
      }
    }
    score0 = select(vec4f(MASKED), score0, key <= last);
    score1 = select(vec4f(MASKED), score1, key + 1u <= last);
    score2 = select(vec4f(MASKED), score2, key + 2u <= last);
    score3 = select(vec4f(MASKED), score3, key + 3u <= last);

    workgroupBarrier();
    tile_kv[local.x * GROUPS + local.y] = max(max(score0, score1), max(score2, score3));
    workgroupBarrier();
    var grown = maximum;
    for (var other = 0u; other < 8u; other++) {
      grown = max(grown, tile_kv[other * GROUPS + local.y]);
    }
    let shrink = exp2(maximum - grown);
    maximum = grown;
    score0 = exp2(score0 - maximum);
    score1 = exp2(score1 - maximum);
    score2 = exp2(score2 - maximum);
    score3 = exp2(score3 - maximum);
    sum = fma(sum, shrink, (score0 + score1) + (score2 + score3));
    tile_p[(local.x * 4u) * GROUPS + local.y] = score0;
    tile_p[(local.x * 4u + 1u) * GROUPS + local.y] = score1;
    tile_p[(local.x * 4u + 2u) * GROUPS + local.y] = score2;
    tile_p[(local.x * 4u + 3u) * GROUPS + local.y] = score3;
    left0 *= shrink.x;
    left1 *= shrink.y;
    left2 *= shrink.z;
    left3 *= shrink.w;
    right0 *= shrink.x;
    right1 *= shrink.y;
    right2 *= shrink.z;
    right3 *= shrink.w;

    for (var half = 0u; half < 2u; half++) {
      workgroupBarrier();
      for (var i = 0u; i < 4u; i++) {
        let row = i * 4u + lane / HEAD_VECTORS;
        let token = min(tile * 32u + half * 16u + row, last);
        tile_kv[row * HEAD_VECTORS + lane % HEAD_VECTORS] = qkv[first + (token * 3u + 2u) * VECTORS + lane % HEAD_VECTORS];
      }
      workgroupBarrier();
      for (var row = 0u; row < 16u; row++) {
        let p = tile_p[(half * 16u + row) * GROUPS + local.y];
        let left = tile_kv[row * HEAD_VECTORS + local.x];
        let right = tile_kv[row * HEAD_VECTORS + local.x + 8u];
        left0 = fma(vec4f(p.x), left, left0);
        left1 = fma(vec4f(p.y), left, left1);
        left2 = fma(vec4f(p.z), left, left2);
        left3 = fma(vec4f(p.w), left, left3);
        right0 = fma(vec4f(p.x), right, right0);
        right1 = fma(vec4f(p.y), right, right1);
        right2 = fma(vec4f(p.z), right, right2);
        right3 = fma(vec4f(p.w), right, right3);
      }
    }
  }

  workgroupBarrier();
  tile_kv[local.x * GROUPS + local.y] = sum;
  workgroupBarrier();
  var total = vec4f();
  for (var other = 0u; other < 8u; other++) {
    total += tile_kv[other * GROUPS + local.y];
  }
  let to = (workgroup.z * size.num_tokens + query) * VECTORS + workgroup.y * HEAD_VECTORS + local.x;
  if (query <= last) {
    out[to] = left0 / total.x;
    out[to + 8u] = right0 / total.x;
  }
  if (query + 1u <= last) {
    out[to + VECTORS] = left1 / total.y;
    out[to + VECTORS + 8u] = right1 / total.y;
  }
  if (query + 2u <= last) {
    out[to + 2u * VECTORS] = left2 / total.z;
    out[to + 2u * VECTORS + 8u] = right2 / total.z;
  }
  if (query + 3u <= last) {
    out[to + 3u * VECTORS] = left3 / total.w;
    out[to + 3u * VECTORS + 8u] = right3 / total.w;
  }
}
