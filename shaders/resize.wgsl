// Pillow's bicubic resize of 8-bit images, bit for bit: a horizontal pass, then a vertical one, both in whole numbers and both rounded to
// 8 bits. Only the pixels that the crop keeps are computed. The vertical pass also normalises, by looking the 8 bits up in a table.
// One lane per pixel: of between in resize_horizontal, of the output in resize_vertical.
//
//   source   the image, (source_height, source_width), 8 bits a channel; its alpha is not looked at
//   taps     (width, 1 + horizontal_taps) for the horizontal pass, (height, 1 + vertical_taps) for the vertical one: the first pixel that
//            is read, then weights with 22 bits behind the point, 0 where there are fewer
//   between  (rows, width): red, green, blue in bits 0 …, 8 …, 16 …; its row 0 is row first_row of the source
//   levels   (3, 256): what becomes of every 8-bit value in each channel
//   pixels   (3, height, width) from element `offset`

struct ResizeSize {
  width: u32,            // of the output
  height: u32,
  rows: u32,             // rows of the source that the output needs
  first_row: u32,
  horizontal_taps: u32,
  vertical_taps: u32,
  offset: u32,           // elements of pixels ahead of this image
}

@group(0) @binding(0) var<uniform> size: ResizeSize;
@group(0) @binding(1) var source: texture_2d<f32>;
@group(0) @binding(2) var<storage, read> taps: array<i32>;
@group(0) @binding(3) var<storage, read_write> between: array<u32>;
// In the vertical pass:
@group(0) @binding(1) var<storage, read> between_done: array<u32>;
@group(0) @binding(3) var<storage, read> levels: array<f32>;
@group(0) @binding(4) var<storage, read_write> pixels: array<f32>;

const WEIGHT_BITS = 22u;
const HALF = 1 << (WEIGHT_BITS - 1u);

// A sum of weighted bytes that began at HALF, rounded and clipped to 8 bits. The shift keeps the sign.
fn to_bytes(sum: vec3i) -> vec3u {
  return vec3u(clamp(sum >> vec3u(WEIGHT_BITS), vec3i(0), vec3i(255)));
}

@compute @workgroup_size(16, 4)
fn resize_horizontal(@builtin(global_invocation_id) id: vec3u) {
  let x = id.x;
  let row = id.y;
  if (x >= size.width || row >= size.rows) {
    return;
  }
  let at = x * (size.horizontal_taps + 1u);
  let first = taps[at];
  let y = i32(size.first_row + row);
  let last = i32(textureDimensions(source).x) - 1;
  var sum = vec3i(HALF);
  for (var tap = 0u; tap < size.horizontal_taps; tap++) {
    let texel = textureLoad(source, vec2i(min(first + i32(tap), last), y), 0);
    sum += vec3i(texel.rgb * 255.0 + 0.5) * taps[at + 1u + tap];
  }
  let bytes = to_bytes(sum);
  between[row * size.width + x] = bytes.r | (bytes.g << 8u) | (bytes.b << 16u);
}

@compute @workgroup_size(16, 4)
fn resize_vertical(@builtin(global_invocation_id) id: vec3u) {
  let x = id.x;
  let y = id.y;
  if (x >= size.width || y >= size.height) {
    return;
  }
  let at = y * (size.vertical_taps + 1u);
  let first = u32(taps[at]) - size.first_row;
  var sum = vec3i(HALF);
  for (var tap = 0u; tap < size.vertical_taps; tap++) {
    let packed = between_done[min(first + tap, size.rows - 1u) * size.width + x];
    sum += vec3i(vec3u(packed, packed >> 8u, packed >> 16u) & vec3u(255u)) * taps[at + 1u + tap];
  }
  let bytes = to_bytes(sum);
  let plane = size.height * size.width;
  let out = size.offset + y * size.width + x;
  pixels[out] = levels[bytes.r];
  pixels[out + plane] = levels[256u + bytes.g];
  pixels[out + 2u * plane] = levels[512u + bytes.b];
}
