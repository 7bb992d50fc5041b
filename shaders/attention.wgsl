// Multi-head attention of every image with itself: softmax(q · kᵀ / √64) · v, with the softmax taken online; no matrix of scores is stored.
// (Dao et al., "FlashAttention", arXiv 2205.14135, algorithm 1; Milakov and Gimelshein, arXiv 1805.02867.)
// One workgroup of 8 × 8 lanes per 32 queries of one head of one image; keys come in tiles of 64. A lane owns 4 queries × 8 keys of the scores and
// 4 queries × 8 channels of the result. Maximum, sum and result are f32. Workgroup memory: 16 KiB, all that WebGPU promises; therefore
// queries and keys come in two halves of their channels (the queries anew for every tile), and the values 32 rows at a time.
//
//   qkv  (batch · num_tokens, 3 · EMBED_DIM): queries, keys, values; head h has channels 64h … 64h + 63 of each
//   out  (batch · num_tokens, EMBED_DIM)
//
// From outside: EMBED_DIM. Dispatch: (ceil(num_tokens / 32), heads, batch).

@group(0) @binding(0) var<uniform> size: ForwardSize;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

const VECTORS = EMBED_DIM / 4u;
const STRIDE = 3u * VECTORS;        // vectors of a token in qkv
const HEAD_VECTORS = 16u;           // 64 channels
const QUERY_GROUPS = 8u;            // groups of 4 queries in a tile
const KEY_GROUPS = 16u;             // groups of 4 keys
const SCALE = 0.18033688011112042;  // log2(e) / √64: scores are in units of log2, so that exp2 serves
const MASKED = -1e30;               // a score that no key has; infinities are not reliable in WGSL

// By turns:
//   shared_tile[d * QUERY_GROUPS + g]        queries 4g … 4g + 3 at channel d of the half
//   shared_tile[K + d * KEY_GROUPS + g]      keys 4g … 4g + 3 at that channel
//   shared_tile[lane.x * QUERY_GROUPS + g]   partial maxima, or sums, of queries 4g … 4g + 3
//   shared_tile[key * QUERY_GROUPS + g]      p = exp2(score - maximum) of queries 4g … 4g + 3
//   shared_tile[V + row * HEAD_VECTORS + v]  channels 4v … 4v + 3 of a value
var<workgroup> shared_tile: array<vec4f, 1024>;
const K = 32u * QUERY_GROUPS;
const V = 64u * QUERY_GROUPS;

@compute @workgroup_size(8, 8)
fn attention(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.y * 8u + local.x;
  let last = size.num_tokens - 1u;
  // Row t of this image's queries at this head is qkv[first + t * STRIDE …]; its keys are VECTORS on, its values 2 * VECTORS on.
  let first = workgroup.z * size.num_tokens * STRIDE + workgroup.y * HEAD_VECTORS;
  let query = workgroup.x * 32u + local.y * 4u;  // the first of the lane's four

  var maximum = vec4f(MASKED);  // of the lane's four queries, over all keys so far
  var sum = vec4f();            // of the four queries, over the lane's own keys
  // The result: one vector a query, at channels 4 · local.x … and 32 + 4 · local.x ….
  var left0 = vec4f();
  var left1 = vec4f();
  var left2 = vec4f();
  var left3 = vec4f();
  var right0 = vec4f();
  var right1 = vec4f();
  var right2 = vec4f();
  var right3 = vec4f();

  let num_tiles = (size.num_tokens + 63u) / 64u;
  for (var tile = 0u; tile < num_tiles; tile++) {
    // Scores of the four queries with keys 4 · local.x … (0 to 3) and 32 + 4 · local.x … (4 to 7).
    var score0 = vec4f();
    var score1 = vec4f();
    var score2 = vec4f();
    var score3 = vec4f();
    var score4 = vec4f();
    var score5 = vec4f();
    var score6 = vec4f();
    var score7 = vec4f();
    for (var half = 0u; half < 2u; half++) {
      let from_q = first + half * 8u + local.x;
      let from_k = from_q + VECTORS;
      workgroupBarrier();  // everybody is done with what the memory held
      let a0 = SCALE * qkv[from_q + min(query, last) * STRIDE];
      let a1 = SCALE * qkv[from_q + min(query + 1u, last) * STRIDE];
      let a2 = SCALE * qkv[from_q + min(query + 2u, last) * STRIDE];
      let a3 = SCALE * qkv[from_q + min(query + 3u, last) * STRIDE];
      shared_tile[(local.x * 4u) * QUERY_GROUPS + local.y] = vec4f(a0.x, a1.x, a2.x, a3.x);
      shared_tile[(local.x * 4u + 1u) * QUERY_GROUPS + local.y] = vec4f(a0.y, a1.y, a2.y, a3.y);
      shared_tile[(local.x * 4u + 2u) * QUERY_GROUPS + local.y] = vec4f(a0.z, a1.z, a2.z, a3.z);
      shared_tile[(local.x * 4u + 3u) * QUERY_GROUPS + local.y] = vec4f(a0.w, a1.w, a2.w, a3.w);
      for (var i = 0u; i < 2u; i++) {
        if (tile * 64u + i * 32u > last) {
          break;
        }
        let group = i * 8u + local.y;
        let stored = tile * 64u + group * 4u;
        let b0 = qkv[from_k + min(stored, last) * STRIDE];
        let b1 = qkv[from_k + min(stored + 1u, last) * STRIDE];
        let b2 = qkv[from_k + min(stored + 2u, last) * STRIDE];
        let b3 = qkv[from_k + min(stored + 3u, last) * STRIDE];
        shared_tile[K + (local.x * 4u) * KEY_GROUPS + group] = vec4f(b0.x, b1.x, b2.x, b3.x);
        shared_tile[K + (local.x * 4u + 1u) * KEY_GROUPS + group] = vec4f(b0.y, b1.y, b2.y, b3.y);
        shared_tile[K + (local.x * 4u + 2u) * KEY_GROUPS + group] = vec4f(b0.z, b1.z, b2.z, b3.z);
        shared_tile[K + (local.x * 4u + 3u) * KEY_GROUPS + group] = vec4f(b0.w, b1.w, b2.w, b3.w);
      }
      workgroupBarrier();
      for (var step = 0u; step < 8u; step++) {
        let q0 = shared_tile[step * 4u * QUERY_GROUPS + local.y];
        let k0 = shared_tile[K + step * 4u * KEY_GROUPS + local.x];
        let l0 = shared_tile[K + step * 4u * KEY_GROUPS + local.x + 8u];
        score0 = fma(q0, vec4f(k0.x), score0);
        score1 = fma(q0, vec4f(k0.y), score1);
        score2 = fma(q0, vec4f(k0.z), score2);
        score3 = fma(q0, vec4f(k0.w), score3);
        score4 = fma(q0, vec4f(l0.x), score4);
        score5 = fma(q0, vec4f(l0.y), score5);
        score6 = fma(q0, vec4f(l0.z), score6);
        score7 = fma(q0, vec4f(l0.w), score7);
        let q1 = shared_tile[(step * 4u + 1u) * QUERY_GROUPS + local.y];
        let k1 = shared_tile[K + (step * 4u + 1u) * KEY_GROUPS + local.x];
        let l1 = shared_tile[K + (step * 4u + 1u) * KEY_GROUPS + local.x + 8u];
        score0 = fma(q1, vec4f(k1.x), score0);
        score1 = fma(q1, vec4f(k1.y), score1);
        score2 = fma(q1, vec4f(k1.z), score2);
        score3 = fma(q1, vec4f(k1.w), score3);
        score4 = fma(q1, vec4f(l1.x), score4);
        score5 = fma(q1, vec4f(l1.y), score5);
        score6 = fma(q1, vec4f(l1.z), score6);
        score7 = fma(q1, vec4f(l1.w), score7);
        let q2 = shared_tile[(step * 4u + 2u) * QUERY_GROUPS + local.y];
        let k2 = shared_tile[K + (step * 4u + 2u) * KEY_GROUPS + local.x];
        let l2 = shared_tile[K + (step * 4u + 2u) * KEY_GROUPS + local.x + 8u];
        score0 = fma(q2, vec4f(k2.x), score0);
        score1 = fma(q2, vec4f(k2.y), score1);
        score2 = fma(q2, vec4f(k2.z), score2);
        score3 = fma(q2, vec4f(k2.w), score3);
        score4 = fma(q2, vec4f(l2.x), score4);
        score5 = fma(q2, vec4f(l2.y), score5);
        score6 = fma(q2, vec4f(l2.z), score6);
        score7 = fma(q2, vec4f(l2.w), score7);
        let q3 = shared_tile[(step * 4u + 3u) * QUERY_GROUPS + local.y];
        let k3 = shared_tile[K + (step * 4u + 3u) * KEY_GROUPS + local.x];
        let l3 = shared_tile[K + (step * 4u + 3u) * KEY_GROUPS + local.x + 8u];
        score0 = fma(q3, vec4f(k3.x), score0);
        score1 = fma(q3, vec4f(k3.y), score1);
        score2 = fma(q3, vec4f(k3.z), score2);
        score3 = fma(q3, vec4f(k3.w), score3);
        score4 = fma(q3, vec4f(l3.x), score4);
        score5 = fma(q3, vec4f(l3.y), score5);
        score6 = fma(q3, vec4f(l3.z), score6);
        score7 = fma(q3, vec4f(l3.w), score7);
      }
    }
    let key = tile * 64u + local.x * 4u;
    score0 = select(vec4f(MASKED), score0, key <= last);
    score1 = select(vec4f(MASKED), score1, key + 1u <= last);
    score2 = select(vec4f(MASKED), score2, key + 2u <= last);
    score3 = select(vec4f(MASKED), score3, key + 3u <= last);
    score4 = select(vec4f(MASKED), score4, key + 32u <= last);
    score5 = select(vec4f(MASKED), score5, key + 33u <= last);
    score6 = select(vec4f(MASKED), score6, key + 34u <= last);
    score7 = select(vec4f(MASKED), score7, key + 35u <= last);

    workgroupBarrier();
    shared_tile[local.x * QUERY_GROUPS + local.y] = max(max(max(score0, score1), max(score2, score3)), max(max(score4, score5), max(score6, score7)));
    workgroupBarrier();
    var grown = maximum;
    for (var other = 0u; other < 8u; other++) {
      grown = max(grown, shared_tile[other * QUERY_GROUPS + local.y]);
    }
    let shrink = exp2(maximum - grown);
    maximum = grown;
    score0 = exp2(score0 - maximum);
    score1 = exp2(score1 - maximum);
    score2 = exp2(score2 - maximum);
    score3 = exp2(score3 - maximum);
    score4 = exp2(score4 - maximum);
    score5 = exp2(score5 - maximum);
    score6 = exp2(score6 - maximum);
    score7 = exp2(score7 - maximum);
    sum = fma(sum, shrink, ((score0 + score1) + (score2 + score3)) + ((score4 + score5) + (score6 + score7)));
    left0 *= shrink.x;
    left1 *= shrink.y;
    left2 *= shrink.z;
    left3 *= shrink.w;
    right0 *= shrink.x;
    right1 *= shrink.y;
    right2 *= shrink.z;
    right3 *= shrink.w;
    workgroupBarrier();
    shared_tile[(local.x * 4u) * QUERY_GROUPS + local.y] = score0;
    shared_tile[(local.x * 4u + 1u) * QUERY_GROUPS + local.y] = score1;
    shared_tile[(local.x * 4u + 2u) * QUERY_GROUPS + local.y] = score2;
    shared_tile[(local.x * 4u + 3u) * QUERY_GROUPS + local.y] = score3;
    shared_tile[(local.x * 4u + 32u) * QUERY_GROUPS + local.y] = score4;
    shared_tile[(local.x * 4u + 33u) * QUERY_GROUPS + local.y] = score5;
    shared_tile[(local.x * 4u + 34u) * QUERY_GROUPS + local.y] = score6;
    shared_tile[(local.x * 4u + 35u) * QUERY_GROUPS + local.y] = score7;

    for (var half = 0u; half < 2u; half++) {
      let from_v = first + 2u * VECTORS + lane % HEAD_VECTORS;
      if (half == 1u) {
        workgroupBarrier();
      }
      for (var i = 0u; i < 8u; i++) {
        let row = i * 4u + lane / HEAD_VECTORS;
        shared_tile[V + row * HEAD_VECTORS + lane % HEAD_VECTORS] = qkv[from_v + min(tile * 64u + half * 32u + row, last) * STRIDE];
      }
      workgroupBarrier();
      for (var step = 0u; step < 8u; step++) {
        let p0 = shared_tile[(half * 32u + step * 4u) * QUERY_GROUPS + local.y];
        let v0 = shared_tile[V + step * 4u * HEAD_VECTORS + local.x];
        let w0 = shared_tile[V + step * 4u * HEAD_VECTORS + local.x + 8u];
        left0 = fma(vec4f(p0.x), v0, left0);
        left1 = fma(vec4f(p0.y), v0, left1);
        left2 = fma(vec4f(p0.z), v0, left2);
        left3 = fma(vec4f(p0.w), v0, left3);
        right0 = fma(vec4f(p0.x), w0, right0);
        right1 = fma(vec4f(p0.y), w0, right1);
        right2 = fma(vec4f(p0.z), w0, right2);
        right3 = fma(vec4f(p0.w), w0, right3);
        let p1 = shared_tile[(half * 32u + step * 4u + 1u) * QUERY_GROUPS + local.y];
        let v1 = shared_tile[V + (step * 4u + 1u) * HEAD_VECTORS + local.x];
        let w1 = shared_tile[V + (step * 4u + 1u) * HEAD_VECTORS + local.x + 8u];
        left0 = fma(vec4f(p1.x), v1, left0);
        left1 = fma(vec4f(p1.y), v1, left1);
        left2 = fma(vec4f(p1.z), v1, left2);
        left3 = fma(vec4f(p1.w), v1, left3);
        right0 = fma(vec4f(p1.x), w1, right0);
        right1 = fma(vec4f(p1.y), w1, right1);
        right2 = fma(vec4f(p1.z), w1, right2);
        right3 = fma(vec4f(p1.w), w1, right3);
        let p2 = shared_tile[(half * 32u + step * 4u + 2u) * QUERY_GROUPS + local.y];
        let v2 = shared_tile[V + (step * 4u + 2u) * HEAD_VECTORS + local.x];
        let w2 = shared_tile[V + (step * 4u + 2u) * HEAD_VECTORS + local.x + 8u];
        left0 = fma(vec4f(p2.x), v2, left0);
        left1 = fma(vec4f(p2.y), v2, left1);
        left2 = fma(vec4f(p2.z), v2, left2);
        left3 = fma(vec4f(p2.w), v2, left3);
        right0 = fma(vec4f(p2.x), w2, right0);
        right1 = fma(vec4f(p2.y), w2, right1);
        right2 = fma(vec4f(p2.z), w2, right2);
        right3 = fma(vec4f(p2.w), w2, right3);
        let p3 = shared_tile[(half * 32u + step * 4u + 3u) * QUERY_GROUPS + local.y];
        let v3 = shared_tile[V + (step * 4u + 3u) * HEAD_VECTORS + local.x];
        let w3 = shared_tile[V + (step * 4u + 3u) * HEAD_VECTORS + local.x + 8u];
        left0 = fma(vec4f(p3.x), v3, left0);
        left1 = fma(vec4f(p3.y), v3, left1);
        left2 = fma(vec4f(p3.z), v3, left2);
        left3 = fma(vec4f(p3.w), v3, left3);
        right0 = fma(vec4f(p3.x), w3, right0);
        right1 = fma(vec4f(p3.y), w3, right1);
        right2 = fma(vec4f(p3.z), w3, right2);
        right3 = fma(vec4f(p3.w), w3, right3);
      }
    }
  }

  // Nobody reads this part of the memory any more: the last values were weighted with the second half of p.
  shared_tile[local.x * QUERY_GROUPS + local.y] = sum;
  workgroupBarrier();
  var total = vec4f();
  for (var other = 0u; other < 8u; other++) {
    total += shared_tile[other * QUERY_GROUPS + local.y];
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
