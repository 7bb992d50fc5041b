// Computes multi-head attention within each image, as in attention.wgsl, for software adapters with subgroups
// of LANES lanes (llvmpipe 8, SwiftShader 4).
//
// Each lane computes 2 queries of one head. The lanes of a workgroup process the keys in groups of LANES:
// each lane reads the key and the value of one token and shuffles both to the other lanes. That saves reads,
// because these adapters gather a vector one word at a time. Within the loop over the keys, queries and
// results are separate variables, not arrays; variables that spill stay in the L1 cache. Outside of that
// loop, queries and results are arrays: a loop over an array compiles in half the time of 64 statements.
//
//   qkv  (batch · num_tokens, 3 · EMBED_DIM): queries, keys, values; head h has channels 64h … 64h + 63 of each
//   out  (batch · num_tokens, EMBED_DIM)
//
// Constants: EMBED_DIM, LANES (the size of every subgroup).
// Workgroups: (ceil(num_tokens / (2 · LANES)), heads, batch).

@group(0) @binding(0) var<uniform> size: ForwardSize;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

const VECTORS = EMBED_DIM / 4u;
const STRIDE = 3u * VECTORS;        // vectors of a token in qkv
const HEAD_VECTORS = 16u;           // 64 channels
const QUERIES = 2u;                 // queries per lane
const SCALE = 0.18033688011112042;  // log2(e) / √64: scores are scaled for exp2 instead of exp
const LOWEST = -1e30;               // less than every score; infinities are not reliable in WGSL

@compute @workgroup_size(LANES)
fn attention(@builtin(global_invocation_id) global: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let id = size.first_workgroup * vec3u(LANES, 1u, 1u) + global;
  let query = id.x * QUERIES;
  // The query of token t of this image and head begins at qkv[first + t * STRIDE]. A lane whose query would
  // be beyond the last query computes the last query again and stores nothing.
  let first = id.z * size.num_tokens * STRIDE + id.y * HEAD_VECTORS;
  let last = size.num_tokens - 1u;
  let row0 = first + min(query, last) * STRIDE;
  let row1 = first + min(query + 1u, last) * STRIDE;
  var queries0: array<vec4f, HEAD_VECTORS>;
  var queries1: array<vec4f, HEAD_VECTORS>;
  for (var i = 0u; i < HEAD_VECTORS; i++) {
    queries0[i] = SCALE * qkv[row0 + i];
    queries1[i] = SCALE * qkv[row1 + i];
  }
  let q0_0 = queries0[0];
  let q0_1 = queries0[1];
  let q0_2 = queries0[2];
  let q0_3 = queries0[3];
  let q0_4 = queries0[4];
  let q0_5 = queries0[5];
  let q0_6 = queries0[6];
  let q0_7 = queries0[7];
  let q0_8 = queries0[8];
  let q0_9 = queries0[9];
  let q0_10 = queries0[10];
  let q0_11 = queries0[11];
  let q0_12 = queries0[12];
  let q0_13 = queries0[13];
  let q0_14 = queries0[14];
  let q0_15 = queries0[15];
  let q1_0 = queries1[0];
  let q1_1 = queries1[1];
  let q1_2 = queries1[2];
  let q1_3 = queries1[3];
  let q1_4 = queries1[4];
  let q1_5 = queries1[5];
  let q1_6 = queries1[6];
  let q1_7 = queries1[7];
  let q1_8 = queries1[8];
  let q1_9 = queries1[9];
  let q1_10 = queries1[10];
  let q1_11 = queries1[11];
  let q1_12 = queries1[12];
  let q1_13 = queries1[13];
  let q1_14 = queries1[14];
  let q1_15 = queries1[15];
  var o0_0 = vec4f();
  var o0_1 = vec4f();
  var o0_2 = vec4f();
  var o0_3 = vec4f();
  var o0_4 = vec4f();
  var o0_5 = vec4f();
  var o0_6 = vec4f();
  var o0_7 = vec4f();
  var o0_8 = vec4f();
  var o0_9 = vec4f();
  var o0_10 = vec4f();
  var o0_11 = vec4f();
  var o0_12 = vec4f();
  var o0_13 = vec4f();
  var o0_14 = vec4f();
  var o0_15 = vec4f();
  var o1_0 = vec4f();
  var o1_1 = vec4f();
  var o1_2 = vec4f();
  var o1_3 = vec4f();
  var o1_4 = vec4f();
  var o1_5 = vec4f();
  var o1_6 = vec4f();
  var o1_7 = vec4f();
  var o1_8 = vec4f();
  var o1_9 = vec4f();
  var o1_10 = vec4f();
  var o1_11 = vec4f();
  var o1_12 = vec4f();
  var o1_13 = vec4f();
  var o1_14 = vec4f();
  var o1_15 = vec4f();
  var maximum = vec2f(LOWEST);  // one for each of the two queries
  var sum = vec2f();
  for (var token = 0u; token < size.num_tokens; token += LANES) {
    // A lane whose token would be beyond the last token reads the last token again. No lane uses this copy.
    let key = first + VECTORS + min(token + lane, last) * STRIDE;
    let value = key + VECTORS;
    let k0 = qkv[key];
    let k1 = qkv[key + 1u];
    let k2 = qkv[key + 2u];
    let k3 = qkv[key + 3u];
    let k4 = qkv[key + 4u];
    let k5 = qkv[key + 5u];
    let k6 = qkv[key + 6u];
    let k7 = qkv[key + 7u];
    let k8 = qkv[key + 8u];
    let k9 = qkv[key + 9u];
    let k10 = qkv[key + 10u];
    let k11 = qkv[key + 11u];
    let k12 = qkv[key + 12u];
    let k13 = qkv[key + 13u];
    let k14 = qkv[key + 14u];
    let k15 = qkv[key + 15u];
    let v0 = qkv[value];
    let v1 = qkv[value + 1u];
    let v2 = qkv[value + 2u];
    let v3 = qkv[value + 3u];
    let v4 = qkv[value + 4u];
    let v5 = qkv[value + 5u];
    let v6 = qkv[value + 6u];
    let v7 = qkv[value + 7u];
    let v8 = qkv[value + 8u];
    let v9 = qkv[value + 9u];
    let v10 = qkv[value + 10u];
    let v11 = qkv[value + 11u];
    let v12 = qkv[value + 12u];
    let v13 = qkv[value + 13u];
    let v14 = qkv[value + 14u];
    let v15 = qkv[value + 15u];
    let count = min(LANES, size.num_tokens - token);
    for (var other = 0u; other < count; other++) {
      var products0 = vec4f();
      var products1 = vec4f();
      let key0 = subgroupShuffle(k0, other);
      products0 = fma(q0_0, key0, products0);
      products1 = fma(q1_0, key0, products1);
      let key1 = subgroupShuffle(k1, other);
      products0 = fma(q0_1, key1, products0);
      products1 = fma(q1_1, key1, products1);
      let key2 = subgroupShuffle(k2, other);
      products0 = fma(q0_2, key2, products0);
      products1 = fma(q1_2, key2, products1);
      let key3 = subgroupShuffle(k3, other);
      products0 = fma(q0_3, key3, products0);
      products1 = fma(q1_3, key3, products1);
      let key4 = subgroupShuffle(k4, other);
      products0 = fma(q0_4, key4, products0);
      products1 = fma(q1_4, key4, products1);
      let key5 = subgroupShuffle(k5, other);
      products0 = fma(q0_5, key5, products0);
      products1 = fma(q1_5, key5, products1);
      let key6 = subgroupShuffle(k6, other);
      products0 = fma(q0_6, key6, products0);
      products1 = fma(q1_6, key6, products1);
      let key7 = subgroupShuffle(k7, other);
      products0 = fma(q0_7, key7, products0);
      products1 = fma(q1_7, key7, products1);
      let key8 = subgroupShuffle(k8, other);
      products0 = fma(q0_8, key8, products0);
      products1 = fma(q1_8, key8, products1);
      let key9 = subgroupShuffle(k9, other);
      products0 = fma(q0_9, key9, products0);
      products1 = fma(q1_9, key9, products1);
      let key10 = subgroupShuffle(k10, other);
      products0 = fma(q0_10, key10, products0);
      products1 = fma(q1_10, key10, products1);
      let key11 = subgroupShuffle(k11, other);
      products0 = fma(q0_11, key11, products0);
      products1 = fma(q1_11, key11, products1);
      let key12 = subgroupShuffle(k12, other);
      products0 = fma(q0_12, key12, products0);
      products1 = fma(q1_12, key12, products1);
      let key13 = subgroupShuffle(k13, other);
      products0 = fma(q0_13, key13, products0);
      products1 = fma(q1_13, key13, products1);
      let key14 = subgroupShuffle(k14, other);
      products0 = fma(q0_14, key14, products0);
      products1 = fma(q1_14, key14, products1);
      let key15 = subgroupShuffle(k15, other);
      products0 = fma(q0_15, key15, products0);
      products1 = fma(q1_15, key15, products1);
      let score = vec2f(dot(products0, vec4f(1.0)), dot(products1, vec4f(1.0)));
      let grown = max(maximum, score);
      let shrink = exp2(maximum - grown);
      let p = exp2(score - grown);
      maximum = grown;
      sum = fma(sum, shrink, p);
      let value0 = subgroupShuffle(v0, other);
      o0_0 = fma(vec4f(p.x), value0, shrink.x * o0_0);
      o1_0 = fma(vec4f(p.y), value0, shrink.y * o1_0);
      let value1 = subgroupShuffle(v1, other);
      o0_1 = fma(vec4f(p.x), value1, shrink.x * o0_1);
      o1_1 = fma(vec4f(p.y), value1, shrink.y * o1_1);
      let value2 = subgroupShuffle(v2, other);
      o0_2 = fma(vec4f(p.x), value2, shrink.x * o0_2);
      o1_2 = fma(vec4f(p.y), value2, shrink.y * o1_2);
      let value3 = subgroupShuffle(v3, other);
      o0_3 = fma(vec4f(p.x), value3, shrink.x * o0_3);
      o1_3 = fma(vec4f(p.y), value3, shrink.y * o1_3);
      let value4 = subgroupShuffle(v4, other);
      o0_4 = fma(vec4f(p.x), value4, shrink.x * o0_4);
      o1_4 = fma(vec4f(p.y), value4, shrink.y * o1_4);
      let value5 = subgroupShuffle(v5, other);
      o0_5 = fma(vec4f(p.x), value5, shrink.x * o0_5);
      o1_5 = fma(vec4f(p.y), value5, shrink.y * o1_5);
      let value6 = subgroupShuffle(v6, other);
      o0_6 = fma(vec4f(p.x), value6, shrink.x * o0_6);
      o1_6 = fma(vec4f(p.y), value6, shrink.y * o1_6);
      let value7 = subgroupShuffle(v7, other);
      o0_7 = fma(vec4f(p.x), value7, shrink.x * o0_7);
      o1_7 = fma(vec4f(p.y), value7, shrink.y * o1_7);
      let value8 = subgroupShuffle(v8, other);
      o0_8 = fma(vec4f(p.x), value8, shrink.x * o0_8);
      o1_8 = fma(vec4f(p.y), value8, shrink.y * o1_8);
      let value9 = subgroupShuffle(v9, other);
      o0_9 = fma(vec4f(p.x), value9, shrink.x * o0_9);
      o1_9 = fma(vec4f(p.y), value9, shrink.y * o1_9);
      let value10 = subgroupShuffle(v10, other);
      o0_10 = fma(vec4f(p.x), value10, shrink.x * o0_10);
      o1_10 = fma(vec4f(p.y), value10, shrink.y * o1_10);
      let value11 = subgroupShuffle(v11, other);
      o0_11 = fma(vec4f(p.x), value11, shrink.x * o0_11);
      o1_11 = fma(vec4f(p.y), value11, shrink.y * o1_11);
      let value12 = subgroupShuffle(v12, other);
      o0_12 = fma(vec4f(p.x), value12, shrink.x * o0_12);
      o1_12 = fma(vec4f(p.y), value12, shrink.y * o1_12);
      let value13 = subgroupShuffle(v13, other);
      o0_13 = fma(vec4f(p.x), value13, shrink.x * o0_13);
      o1_13 = fma(vec4f(p.y), value13, shrink.y * o1_13);
      let value14 = subgroupShuffle(v14, other);
      o0_14 = fma(vec4f(p.x), value14, shrink.x * o0_14);
      o1_14 = fma(vec4f(p.y), value14, shrink.y * o1_14);
      let value15 = subgroupShuffle(v15, other);
      o0_15 = fma(vec4f(p.x), value15, shrink.x * o0_15);
      o1_15 = fma(vec4f(p.y), value15, shrink.y * o1_15);
    }
  }

  let scale = 1.0 / sum;
  let to = (id.z * size.num_tokens + query) * VECTORS + id.y * HEAD_VECTORS;
  var results0 = array<vec4f, HEAD_VECTORS>(
    o0_0, o0_1, o0_2, o0_3, o0_4, o0_5, o0_6, o0_7,
    o0_8, o0_9, o0_10, o0_11, o0_12, o0_13, o0_14, o0_15,
  );
  var results1 = array<vec4f, HEAD_VECTORS>(
    o1_0, o1_1, o1_2, o1_3, o1_4, o1_5, o1_6, o1_7,
    o1_8, o1_9, o1_10, o1_11, o1_12, o1_13, o1_14, o1_15,
  );
  for (var i = 0u; i < HEAD_VECTORS; i++) {
    if (query <= last) {
      out[to + i] = results0[i] * scale.x;
    }
    if (query + 1u <= last) {
      out[to + VECTORS + i] = results1[i] * scale.y;
    }
  }
}
