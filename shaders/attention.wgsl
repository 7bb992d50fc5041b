// Computes multi-head attention within each image: softmax(q · kᵀ / √64) · v, with an online softmax, so that
// no matrix of scores is stored. (Dao et al., "FlashAttention", arXiv 2205.14135, algorithm 1; Milakov and
// Gimelshein, arXiv 1805.02867.)
//
// One workgroup of 8 × QUERY_GROUPS lanes computes 4 · QUERY_GROUPS queries of one head of one image. The
// workgroup processes the keys in tiles of 64. A lane computes 4 queries × 8 keys of the scores, and 4
// queries × 8 channels of the result. The softmax maximum, the softmax sum and the result are f32.
//
// WebGPU guarantees only 16 KiB of workgroup memory. Therefore queries and keys are staged in two halves of
// 32 channels each, and softmax weights and values in two halves of 32 keys each. The queries are staged for
// every tile of keys.
//
// QUERY_GROUPS is 8, or 4 for few queries. With 4, more workgroups run, but keys and values are staged more
// often. Both numbers give the same bits, because the sums of a query are computed in the same order. 16
// groups would need 21 KiB of workgroup memory, which is too much.
//
//   qkv  (batch · num_tokens, 3 · EMBED_DIM): queries, keys, values; head h has channels 64h … 64h + 63 of each
//   out  (batch · num_tokens, EMBED_DIM)
//
// Constants: EMBED_DIM; QUERY_GROUPS, a power of two.
// Workgroups: (ceil(num_tokens / (4 · QUERY_GROUPS)), heads, batch).

@group(0) @binding(0) var<uniform> size: ForwardSize;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

const VECTORS = EMBED_DIM / 4u;
const STRIDE = 3u * VECTORS;        // vectors of a token in qkv
const LANES = 8u * QUERY_GROUPS;
const GROUPS = 16u;                 // groups of 4 keys in a tile, and of 4 channels in a head
const PITCH = 17u;                  // 32 staged steps / 2, plus 1 to avoid bank conflicts
const SCALE = 0.18033688011112042;  // log2(e) / √64: scores are scaled for exp2 instead of exp
const MASKED = -1e30;               // score of a missing key; infinities are not reliable in WGSL

// As in linear.wgsl, an iteration of a loop processes two steps of a product. The operand of a step for a
// group is stored at (step % 2 · groups + group) · PITCH + step / 2. The arrays hold one after the other:
//   shared_tile   step: a channel of the half        group: queries 4 · group to 4 · group + 3, times SCALE
//   shared_tile   step: a key of the half            group: p = exp2(score - maximum) of these queries
//   other_tile    step: a channel of the half        group: keys 4 · group to 4 · group + 3
//   other_tile    step: a key of the half            group: channels 4 · group to 4 · group + 3 of its value
//   shared_tile[lane.x * QUERY_GROUPS + lane.y]      partial maxima, or sums, of queries 4 · lane.y …
var<workgroup> shared_tile: array<vec4f, 2u * QUERY_GROUPS * PITCH>;
var<workgroup> other_tile: array<vec4f, 2u * GROUPS * PITCH>;
// Values that a lane keeps from tile to tile. First LANES elements: the maxima of the lane's four queries
// over all keys so far. Next LANES elements: the softmax sums of the four queries over the lane's own keys.
// These values are in workgroup memory, because the products need all registers.
var<workgroup> running: array<vec4f, 2u * LANES>;

@compute @workgroup_size(8, QUERY_GROUPS)
fn attention(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let workgroup = size.first_workgroup + id;
  let lane = local.y * 8u + local.x;
  let last = size.num_tokens - 1u;
  // For token t of this image and head, the query begins at qkv[first + t * STRIDE], the key VECTORS elements
  // further, and the value 2 * VECTORS elements further.
  let first = workgroup.z * size.num_tokens * STRIDE + workgroup.y * GROUPS;
  let query = workgroup.x * (4u * QUERY_GROUPS) + local.y * 4u;  // first of the lane's four queries
  let at_query = local.y * PITCH;
  let at_other = local.x * PITCH;

  running[lane] = vec4f(MASKED);
  running[LANES + lane] = vec4f();
  // The result for each of the four queries: `left` has the four channels from 4 · local.x on, `right` has
  // the four channels from 32 + 4 · local.x on.
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
    // Scores of the four queries: score0 to score3 with the four keys from 4 · local.x on, score4 to score7
    // with the four keys from 32 + 4 · local.x on.
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
      workgroupBarrier();  // no lane reads the previous contents any more
      let a0 = SCALE * qkv[from_q + min(query, last) * STRIDE];
      let a1 = SCALE * qkv[from_q + min(query + 1u, last) * STRIDE];
      let a2 = SCALE * qkv[from_q + min(query + 2u, last) * STRIDE];
      let a3 = SCALE * qkv[from_q + min(query + 3u, last) * STRIDE];
      let to = local.y * PITCH + local.x * 2u;
      shared_tile[to] = vec4f(a0.x, a1.x, a2.x, a3.x);
      shared_tile[QUERY_GROUPS * PITCH + to] = vec4f(a0.y, a1.y, a2.y, a3.y);
      shared_tile[to + 1u] = vec4f(a0.z, a1.z, a2.z, a3.z);
      shared_tile[QUERY_GROUPS * PITCH + to + 1u] = vec4f(a0.w, a1.w, a2.w, a3.w);
      for (var i = 0u; i < GROUPS / QUERY_GROUPS; i++) {
        let stored = tile * 64u + i * (4u * QUERY_GROUPS) + local.y * 4u;
        if (tile * 64u + i * (4u * QUERY_GROUPS) > last) {
          break;
        }
        let b0 = qkv[from_k + min(stored, last) * STRIDE];
        let b1 = qkv[from_k + min(stored + 1u, last) * STRIDE];
        let b2 = qkv[from_k + min(stored + 2u, last) * STRIDE];
        let b3 = qkv[from_k + min(stored + 3u, last) * STRIDE];
        let into = (i * QUERY_GROUPS + local.y) * PITCH + local.x * 2u;
        other_tile[into] = vec4f(b0.x, b1.x, b2.x, b3.x);
        other_tile[GROUPS * PITCH + into] = vec4f(b0.y, b1.y, b2.y, b3.y);
        other_tile[into + 1u] = vec4f(b0.z, b1.z, b2.z, b3.z);
        other_tile[GROUPS * PITCH + into + 1u] = vec4f(b0.w, b1.w, b2.w, b3.w);
      }
      workgroupBarrier();
      for (var turn = 0u; turn < 16u; turn++) {
        let of_query = at_query + turn;
        let of_other = at_other + turn;
        let even_q = shared_tile[of_query];
        let odd_q = shared_tile[of_query + QUERY_GROUPS * PITCH];
        let even_k = other_tile[of_other];
        let odd_k = other_tile[of_other + GROUPS * PITCH];
        let even_l = other_tile[of_other + 8u * PITCH];
        let odd_l = other_tile[of_other + (GROUPS + 8u) * PITCH];
        score0 = fma(odd_q, vec4f(odd_k.x), fma(even_q, vec4f(even_k.x), score0));
        score1 = fma(odd_q, vec4f(odd_k.y), fma(even_q, vec4f(even_k.y), score1));
        score2 = fma(odd_q, vec4f(odd_k.z), fma(even_q, vec4f(even_k.z), score2));
        score3 = fma(odd_q, vec4f(odd_k.w), fma(even_q, vec4f(even_k.w), score3));
        score4 = fma(odd_q, vec4f(odd_l.x), fma(even_q, vec4f(even_l.x), score4));
        score5 = fma(odd_q, vec4f(odd_l.y), fma(even_q, vec4f(even_l.y), score5));
        score6 = fma(odd_q, vec4f(odd_l.z), fma(even_q, vec4f(even_l.z), score6));
        score7 = fma(odd_q, vec4f(odd_l.w), fma(even_q, vec4f(even_l.w), score7));
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
    let maximum = running[lane];
    var grown = maximum;
    for (var other = 0u; other < 8u; other++) {
      grown = max(grown, shared_tile[other * QUERY_GROUPS + local.y]);
    }
    let shrink = exp2(maximum - grown);
    running[lane] = grown;
    score0 = exp2(score0 - grown);
    score1 = exp2(score1 - grown);
    score2 = exp2(score2 - grown);
    score3 = exp2(score3 - grown);
    score4 = exp2(score4 - grown);
    score5 = exp2(score5 - grown);
    score6 = exp2(score6 - grown);
    score7 = exp2(score7 - grown);
    let part = ((score0 + score1) + (score2 + score3)) + ((score4 + score5) + (score6 + score7));
    running[LANES + lane] = fma(running[LANES + lane], shrink, part);
    left0 *= shrink.x;
    left1 *= shrink.y;
    left2 *= shrink.z;
    left3 *= shrink.w;
    right0 *= shrink.x;
    right1 *= shrink.y;
    right2 *= shrink.z;
    right3 *= shrink.w;

    for (var half = 0u; half < 2u; half++) {
      let from_v = first + 2u * VECTORS + local.x + (local.y % 2u) * 8u;
      workgroupBarrier();
      let first_half = half == 0u;
      let to = local.y * PITCH + local.x * 2u;
      shared_tile[to] = select(score4, score0, first_half);
      shared_tile[QUERY_GROUPS * PITCH + to] = select(score5, score1, first_half);
      shared_tile[to + 1u] = select(score6, score2, first_half);
      shared_tile[QUERY_GROUPS * PITCH + to + 1u] = select(score7, score3, first_half);
      for (var part = 0u; part < 8u / QUERY_GROUPS; part++) {
        // The condition is never true, but the compiler cannot know that. Without this branch, Intel's
        // compiler issues all 16 loads at once and spills registers.
        if (QUERY_GROUPS < 8u && part > size.num_tokens) {
          break;
        }
        for (var i = 0u; i < 8u; i++) {
          let row = (part * 8u + i) * (QUERY_GROUPS / 2u) + local.y / 2u;
          other_tile[((row % 2u) * GROUPS + local.x + (local.y % 2u) * 8u) * PITCH + row / 2u] = qkv[from_v + min(tile * 64u + half * 32u + row, last) * STRIDE];
        }
      }
      workgroupBarrier();
      for (var turn = 0u; turn < 16u; turn++) {
        let of_query = at_query + turn;
        let of_other = at_other + turn;
        let even_p = shared_tile[of_query];
        let odd_p = shared_tile[of_query + QUERY_GROUPS * PITCH];
        let even_v = other_tile[of_other];
        let odd_v = other_tile[of_other + GROUPS * PITCH];
        let even_w = other_tile[of_other + 8u * PITCH];
        let odd_w = other_tile[of_other + (GROUPS + 8u) * PITCH];
        left0 = fma(vec4f(odd_p.x), odd_v, fma(vec4f(even_p.x), even_v, left0));
        left1 = fma(vec4f(odd_p.y), odd_v, fma(vec4f(even_p.y), even_v, left1));
        left2 = fma(vec4f(odd_p.z), odd_v, fma(vec4f(even_p.z), even_v, left2));
        left3 = fma(vec4f(odd_p.w), odd_v, fma(vec4f(even_p.w), even_v, left3));
        right0 = fma(vec4f(odd_p.x), odd_w, fma(vec4f(even_p.x), even_w, right0));
        right1 = fma(vec4f(odd_p.y), odd_w, fma(vec4f(even_p.y), even_w, right1));
        right2 = fma(vec4f(odd_p.z), odd_w, fma(vec4f(even_p.z), even_w, right2));
        right3 = fma(vec4f(odd_p.w), odd_w, fma(vec4f(even_p.w), even_w, right3));
      }
    }
  }

  workgroupBarrier();
  shared_tile[local.x * QUERY_GROUPS + local.y] = running[LANES + lane];
  workgroupBarrier();
  var total = vec4f();
  for (var other = 0u; other < 8u; other++) {
    total += shared_tile[other * QUERY_GROUPS + local.y];
  }
  let to = (workgroup.z * size.num_tokens + query) * VECTORS + workgroup.y * GROUPS + local.x;
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
