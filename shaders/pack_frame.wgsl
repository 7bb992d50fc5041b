// Packs rows of a video frame into 4 bytes per pixel, which resize_first reads. The browser converts the frame's
// colours to sRGB when the frame is read. A lane packs one pixel.
//
//   frame    the frame: red, green, blue and alpha from 0 to 1
//   pixels   (rows, stride): red, green, blue, alpha in bits 0 …, 8 …, 16 …, 24 …; row 0 is row first_row of the frame

struct FrameRows {
  width: u32,          // width of the frame in pixels
  rows: u32,
  first_row: u32,
  stride: u32,         // length of a row of `pixels`
}

@group(0) @binding(0) var<uniform> size: FrameRows;
@group(0) @binding(1) var frame: texture_external;
@group(0) @binding(2) var<storage, read_write> pixels: array<u32>;

@compute @workgroup_size(16, 4)
fn pack_frame(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= size.width || id.y >= size.rows) { return; }
  pixels[id.y * size.stride + id.x] = pack4x8unorm(textureLoad(frame, vec2u(id.x, id.y + size.first_row)));
}
