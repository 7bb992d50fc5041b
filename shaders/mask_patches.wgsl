// Replaces the embeddings of masked patches by the mask token (bool_masked_pos), before positions are added.
// Each lane computes four channels of a patch.
//
//   patches     (batch · rows · cols, EMBED_DIM)
//   mask        (batch · rows · cols); 0: the patch is not masked
//   mask_token  (EMBED_DIM)
//   out         (batch · rows · cols, EMBED_DIM)
//
// Constants: EMBED_DIM. Workgroups: (ceil(EMBED_DIM / 256), rows · cols, batch).

@group(0) @binding(0) var<uniform> size: ForwardSize;
@group(0) @binding(1) var<storage, read> patches: array<vec4f>;
@group(0) @binding(2) var<storage, read> mask: array<u32>;
@group(0) @binding(3) var<storage, read> mask_token: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;

const VECTORS = EMBED_DIM / 4u;

@compute @workgroup_size(64)
fn mask_patches(@builtin(global_invocation_id) id: vec3u) {
  let num_patches = size.rows * size.cols;
  if (id.x >= VECTORS || id.y >= num_patches) {
    return;
  }
  let patch_row = id.z * num_patches + id.y;
  let at = patch_row * VECTORS + id.x;
  out[at] = select(patches[at], mask_token[id.x], mask[patch_row] != 0u);
}
