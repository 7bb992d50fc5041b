// Pillow's resize of 8-bit images, bit for bit: one pass along each side, both in whole numbers and both rounded to 8 bits. The filter is in the
// taps. Only the pixels that the crop keeps are computed. The second pass also normalises, by looking the 8 bits up in a table. Pixels of the
// output that lie outside the resized image, where a crop is larger, have the colour `fill`.
// Pillow resizes horizontally first. Images that are over 100 times as tall as wide it resizes vertically first: those are `transposed`, which
// means that rows and columns change places in everything that is said here, when source is read and when pixels is written.
// An image may lie in its texture turned or mirrored, as Exif's orientation says: `turn` tells where a pixel of the upright source lies.
// One lane per pixel: of between in resize_first, of the output in resize_second.
//
//   source   the image, 8 bits a channel; its alpha is not looked at
//   taps     (width, 1 + first_taps) in the first pass, (height, 1 + second_taps) in the second: the first pixel that is read, then weights
//            with WEIGHT_BITS bits behind the point, 0 where there are fewer; -1 and zeros for a pixel outside the resized image
//   between  (rows, width): red, green, blue in bits 0 …, 8 …, 16 …, or OUTSIDE; its row 0 is row first_row of the source
//   levels   (3, 256): what becomes of every 8-bit value in each channel
//   pixels   (3, height, width), from element `offset` on

struct ResizeSize {
  width: u32,        // of the output
  height: u32,
  rows: u32,         // rows of the source that the output needs
  first_row: u32,
  first_taps: u32,
  second_taps: u32,
  offset: u32,       // elements of pixels ahead of this image
  transposed: u32,   // 0 or 1
  turn: u32,         // from the upright source to its texture: TURN_TRANSPOSE, then TURN_FLIP_X, TURN_FLIP_Y
  fill: u32,         // of pixels outside the resized image: red, green, blue as in between
}

@group(0) @binding(0) var<uniform> size: ResizeSize;
@group(0) @binding(1) var source: texture_2d<f32>;
@group(0) @binding(2) var<storage, read> taps: array<i32>;
@group(0) @binding(3) var<storage, read_write> between: array<u32>;
// In the second pass:
@group(0) @binding(1) var<storage, read> between_done: array<u32>;
@group(0) @binding(3) var<storage, read> levels: array<f32>;
@group(0) @binding(4) var<storage, read_write> pixels: array<f32>;

const WEIGHT_BITS = 22u;
const HALF = 1 << (WEIGHT_BITS - 1u);
const OUTSIDE = 1u << 24u;
const TURN_FLIP_X = 1u;
const TURN_FLIP_Y = 2u;
const TURN_TRANSPOSE = 4u;

// A sum of weighted bytes that began at HALF, rounded and clipped to 8 bits. The shift keeps the sign.
fn to_bytes(sum: vec3i) -> vec3u {
  return vec3u(clamp(sum >> vec3u(WEIGHT_BITS), vec3i(0), vec3i(255)));
}

fn unpack(packed: u32) -> vec3u {
  return vec3u(packed, packed >> 8u, packed >> 16u) & vec3u(255u);
}

@compute @workgroup_size(16, 4)
fn resize_first(@builtin(global_invocation_id) id: vec3u) {
  let x = id.x;
  let row = id.y;
  if (x >= size.width || row >= size.rows) {
    return;
  }
  let at = x * (size.first_taps + 1u);
  if (taps[at] < 0) {
    between[row * size.width + x] = OUTSIDE;
    return;
  }
  let y = size.first_row + row;
  let last = textureDimensions(source) - 1u;
  var place = vec2u(u32(taps[at]), y);
  var along = vec2u(1u, 0u);
  if ((size.transposed == 1u) != ((size.turn & TURN_TRANSPOSE) != 0u)) {
    place = place.yx;
    along = along.yx;
  }
  let flipped = (vec2u(size.turn) & vec2u(TURN_FLIP_X, TURN_FLIP_Y)) != vec2u(0u);
  var sum = vec3i(HALF);
  for (var tap = 0u; tap < size.first_taps; tap++) {
    let at_tap = min(place + tap * along, last);  // taps of weight 0 may lie outside
    let texel = textureLoad(source, select(at_tap, last - at_tap, flipped), 0);
    sum += vec3i(texel.rgb * 255.0 + 0.5) * taps[at + 1u + tap];
  }
  let bytes = to_bytes(sum);
  between[row * size.width + x] = bytes.r | (bytes.g << 8u) | (bytes.b << 16u);
}

@compute @workgroup_size(16, 4)
fn resize_second(@builtin(global_invocation_id) id: vec3u) {
  let x = id.x;
  let y = id.y;
  if (x >= size.width || y >= size.height) {
    return;
  }
  let at = y * (size.second_taps + 1u);
  var bytes = unpack(size.fill);
  if (taps[at] >= 0) {
    let first = u32(taps[at]) - size.first_row;
    if (between_done[first * size.width + x] != OUTSIDE) {
      var sum = vec3i(HALF);
      for (var tap = 0u; tap < size.second_taps; tap++) {
        let packed = between_done[min(first + tap, size.rows - 1u) * size.width + x];
        sum += vec3i(unpack(packed)) * taps[at + 1u + tap];
      }
      bytes = to_bytes(sum);
    }
  }
  let plane = size.height * size.width;
  let out = size.offset + select(y * size.width + x, x * size.height + y, size.transposed == 1u);
  pixels[out] = levels[bytes.r];
  pixels[out + plane] = levels[256u + bytes.g];
  pixels[out + 2u * plane] = levels[512u + bytes.b];
}
