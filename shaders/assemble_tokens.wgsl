// Assembles the tokens of each image:
// [cls + positions[0], registers (without positions), patches + positions[1…]].
// Each lane computes four channels of a token.
//
//   patches    (batch · rows · cols, EMBED_DIM)
//   cls        (EMBED_DIM)
//   positions  (1 + rows · cols, EMBED_DIM): position embeddings, already interpolated to the image's patches
//   registers  (NUM_REGISTER_TOKENS, EMBED_DIM); only for entry point assemble_tokens_registers
//   out        (batch · num_tokens, EMBED_DIM)
//
// Constants: EMBED_DIM, NUM_REGISTER_TOKENS. Workgroups: (ceil(EMBED_DIM / 256), num_tokens, batch).

@group(0) @binding(0) var<uniform> size: ForwardSize;
@group(0) @binding(1) var<storage, read> patches: array<vec4f>;
@group(0) @binding(2) var<storage, read> cls: array<vec4f>;
@group(0) @binding(3) var<storage, read> positions: array<vec4f>;
@group(0) @binding(4) var<storage, read> registers: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;
// `out` of the entry point assemble_tokens, for models without registers.
@group(0) @binding(4) var<storage, read_write> out_plain: array<vec4f>;

const VECTORS = EMBED_DIM / 4u;

// Returns channels 4 · `vector` to 4 · `vector` + 3 of the cls token or of a patch, with its position
// embedding added. `token` is the index among cls and patches, without registers.
fn placed_token(image: u32, token: u32, vector: u32) -> vec4f {
  let position = positions[token * VECTORS + vector];
  if (token == 0u) {
    return cls[vector] + position;
  }
  let num_patches = size.rows * size.cols;
  return patches[(image * num_patches + token - 1u) * VECTORS + vector] + position;
}

@compute @workgroup_size(64)
fn assemble_tokens(@builtin(global_invocation_id) id: vec3u) {
  let vector = id.x;
  let token = id.y;
  let image = id.z;
  if (vector >= VECTORS || token >= size.num_tokens) {
    return;
  }
  out_plain[(image * size.num_tokens + token) * VECTORS + vector] = placed_token(image, token, vector);
}

@compute @workgroup_size(64)
fn assemble_tokens_registers(@builtin(global_invocation_id) id: vec3u) {
  let vector = id.x;
  let token = id.y;
  let image = id.z;
  if (vector >= VECTORS || token >= size.num_tokens) {
    return;
  }
  let at = (image * size.num_tokens + token) * VECTORS + vector;
  if (token >= 1u && token <= NUM_REGISTER_TOKENS) {
    out[at] = registers[(token - 1u) * VECTORS + vector];
  } else {
    out[at] = placed_token(image, select(token - NUM_REGISTER_TOKENS, 0u, token == 0u), vector);
  }
}
