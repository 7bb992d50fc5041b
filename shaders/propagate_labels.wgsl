// Carries labels of patches from earlier frames of a video, the context, to the next frame. Each patch takes
// the labels of the TOP_K context patches that are most similar to it, weighted by similarity.
//
//   unit_patches      scales the tokens of a frame to length 1 and stores them in a slot of the context
//   nearest_context   finds the TOP_K most similar patches of each context frame, for each patch of the frame
//   propagate_labels  compares the context frames, and computes the new labels
//
// The context has 1 + size.ring slots. Slot 0 holds the first frame of the video. The other slots are used in
// turn: size.oldest is the place of the oldest frame among them. Context frame 0 is the first frame; context
// frame i > 0 is the i-th oldest one of the others.
//
//   tokens      (tokens of the batch, EMBED_DIM)
//   context     (slots, patches, EMBED_DIM), tokens of length 1. A token of zeros stays zero. A token is stored as
//               NaN if it contains NaN or infinity, or if its squared length is above the range of f32
//   candidates  (context frames, patches, TOP_K), the most similar one first
//   labels      (slots, patches), 0 to 1
//   new_labels  (patches): the labels of the frame
//   strengths   (patches) f32, written as bits: the new labels, with 0 for a label below size.threshold, and NaN for
//               a patch that cannot be compared because its token, or every context patch in reach, is NaN
//
// Similarity is the cosine. Of several equally similar patches, the one of the earlier frame comes first, and
// within a frame the first one in reading order.
//
// Constants: EMBED_DIM (a multiple of 4), TOP_K. Workgroups: ceil(patches / 16); nearest_context has
// (ceil(patches / 16), context frames).

struct TrackSize {
  rows: u32,
  cols: u32,
  first_token: u32,     // row of `tokens` with the frame's first patch
  slot: u32,            // slot of the frame
  context_frames: u32,
  first_frame: u32,     // first context frame of this dispatch of nearest_context
  oldest: u32,
  ring: u32,
  radius: u32,          // largest distance in rows and in columns of a patch and a context patch
  temperature: f32,     // a difference of similarities of this size changes a weight by the factor e
  min_similarity: f32,  // context patches that are less similar are ignored
  threshold: f32,
}

struct Candidate {
  similarity: f32,
  patch_index: u32,
}

@group(0) @binding(0) var<uniform> size: TrackSize;
// Bindings of unit_patches.
@group(0) @binding(1) var<storage, read> tokens: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> context_out: array<vec4u>;
// Bindings of nearest_context.
@group(0) @binding(1) var<storage, read> context: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> candidates: array<Candidate>;
// Bindings of propagate_labels.
@group(0) @binding(1) var<storage, read> all_candidates: array<Candidate>;
@group(0) @binding(2) var<storage, read> labels: array<f32>;
@group(0) @binding(3) var<storage, read_write> new_labels: array<f32>;
@group(0) @binding(4) var<storage, read_write> strengths: array<u32>;

const VECTORS = EMBED_DIM / 4u;
const LOWEST = -2.0;  // below any cosine
const INFINITE_BITS = 0x7f800000u;
const NAN_BITS = 0x7fc00000u;

fn slot_of(frame: u32) -> u32 {
  return select(1u + (size.oldest + frame - 1u) % size.ring, 0u, frame == 0u);
}

// Inserts a candidate into a list in descending order of similarity, and drops the last one.
fn insert(best: ptr<function, array<Candidate, TOP_K>>, candidate: Candidate) {
  var at = TOP_K - 1u;
  if (candidate.similarity <= (*best)[at].similarity) {
    return;
  }
  while (at > 0u && (*best)[at - 1u].similarity < candidate.similarity) {
    (*best)[at] = (*best)[at - 1u];
    at--;
  }
  (*best)[at] = candidate;
}

// Returns true if a stored token is NaN.
fn is_nan(vector: vec4f) -> bool {
  return (bitcast<vec4u>(vector).x & INFINITE_BITS) == INFINITE_BITS;
}

// Each lane scales one token.
@compute @workgroup_size(16)
fn unit_patches(@builtin(global_invocation_id) id: vec3u) {
  let patches = size.rows * size.cols;
  if (id.x >= patches) {
    return;
  }
  let begin = (size.first_token + id.x) * VECTORS;
  var squares = vec4f();
  // Tests the bits, because a compiler may assume that values are finite.
  var largest = vec4u();
  for (var i = 0u; i < VECTORS; i++) {
    let value = tokens[begin + i];
    squares = fma(value, value, squares);
    largest = max(largest, bitcast<vec4u>(value) & vec4u(INFINITE_BITS));
  }
  let length_squared = squares.x + squares.y + squares.z + squares.w;
  let length = sqrt(length_squared);
  let scale = select(0.0, 1.0 / length, length > 0.0);
  let bits = max(max(max(largest.x, largest.y), max(largest.z, largest.w)), bitcast<u32>(length_squared));
  let to = (size.slot * patches + id.x) * VECTORS;
  for (var i = 0u; i < VECTORS; i++) {
    let unit = bitcast<vec4u>(tokens[begin + i] * scale);
    context_out[to + i] = select(unit, vec4u(NAN_BITS), bits >= INFINITE_BITS);
  }
}

// Each lane compares one patch with the patches of one context frame, two of them at a time.
@compute @workgroup_size(16)
fn nearest_context(@builtin(global_invocation_id) id: vec3u) {
  let patches = size.rows * size.cols;
  if (id.x >= patches) {
    return;
  }
  let row = id.x / size.cols;
  let col = id.x % size.cols;
  let frame = size.first_frame + id.y;
  let first_patch = slot_of(frame) * patches;
  let own = (size.slot * patches + id.x) * VECTORS;
  let is_valid = !is_nan(context[own]);
  let first_col = max(col, size.radius) - size.radius;
  let last_col = min(col + size.radius, size.cols - 1u);
  var best: array<Candidate, TOP_K>;
  for (var i = 0u; i < TOP_K; i++) {
    best[i] = Candidate(LOWEST, 0u);
  }
  for (var y = max(row, size.radius) - size.radius; y <= min(row + size.radius, size.rows - 1u); y++) {
    for (var x = first_col; x <= last_col; x += 2u) {
      let left = y * size.cols + x;
      let has_right = x < last_col;
      let right = select(left, left + 1u, has_right);
      let left_begin = (first_patch + left) * VECTORS;
      let right_begin = (first_patch + right) * VECTORS;
      var left_sum = vec4f();
      var right_sum = vec4f();
      for (var i = 0u; i < VECTORS; i++) {
        let value = context[own + i];
        left_sum = fma(value, context[left_begin + i], left_sum);
        right_sum = fma(value, context[right_begin + i], right_sum);
      }
      if (is_valid && !is_nan(context[left_begin])) {
        insert(&best, Candidate(left_sum.x + left_sum.y + left_sum.z + left_sum.w, left));
      }
      if (is_valid && has_right && !is_nan(context[right_begin])) {
        insert(&best, Candidate(right_sum.x + right_sum.y + right_sum.z + right_sum.w, right));
      }
    }
  }
  let to = (frame * patches + id.x) * TOP_K;
  for (var i = 0u; i < TOP_K; i++) {
    candidates[to + i] = best[i];
  }
}

// Each lane computes the label of one patch: the mean of the labels of its candidates, weighted by
// exp(similarity / temperature). A patch without a candidate that is similar enough gets the label 0.
@compute @workgroup_size(16)
fn propagate_labels(@builtin(global_invocation_id) id: vec3u) {
  let patches = size.rows * size.cols;
  if (id.x >= patches) {
    return;
  }
  var best: array<Candidate, TOP_K>;
  for (var i = 0u; i < TOP_K; i++) {
    best[i] = Candidate(LOWEST, 0u);
  }
  for (var frame = 0u; frame < size.context_frames; frame++) {
    let begin = (frame * patches + id.x) * TOP_K;
    let first_label = slot_of(frame) * patches;
    for (var i = 0u; i < TOP_K; i++) {
      let found = all_candidates[begin + i];
      insert(&best, Candidate(found.similarity, first_label + found.patch_index));
    }
  }
  var sum = 0.0;
  var weights = 0.0;
  for (var i = 0u; i < TOP_K; i++) {
    if (best[i].similarity >= size.min_similarity) {
      let weight = exp((best[i].similarity - best[0].similarity) / size.temperature);
      sum = fma(weight, labels[best[i].patch_index], sum);
      weights += weight;
    }
  }
  let label = select(0.0, sum / max(weights, 1.0), weights > 0.0);
  new_labels[id.x] = label;
  let strength = bitcast<u32>(select(0.0, label, label >= size.threshold));
  strengths[id.x] = select(strength, NAN_BITS, best[0].similarity == LOWEST);
}
