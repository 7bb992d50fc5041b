// Pillow's resize of 8-bit images, bit for bit: one pass along each side, both in whole numbers and both rounded to 8 bits. The filter is in the
// taps. Only the pixels that the crop keeps are computed. The second pass also normalises, by looking the 8 bits up in a table. Pixels of the
// output that lie outside the resized image, where a crop is larger, have the colour `fill`.
// Pillow resizes horizontally first. Images that are over 100 times as tall as wide it resizes vertically first: those are `transposed`, which
// means that rows and columns change places in everything that is said here, when source is read and when pixels is written.
// An image may be stored turned or mirrored, as Exif's orientation says: `turn` tells where a pixel of the upright source is stored.
// The source comes in strips of stored rows: each dispatch of resize_first computes the part of `between` that its strip holds all taps of.
// A lane computes FIRST_ROWS pixels of a column of between in resize_first, which share their weights, and a pixel of the output in
// resize_second.
//
//   source   rows of the stored image, `stride` pixels each, 4 bytes a pixel; the fourth is not looked at
//   taps     (width, 1 + taps) in either pass: the first pixel that is read, then weights with WEIGHT_BITS bits behind the point, 0 where there
//            are fewer; -1 and zeros for a pixel outside the resized image
//   between  (rows, width): red, green, blue in bits 0 …, 8 …, 16 …, or OUTSIDE; its row 0 is row first_row of the source
//   levels   (3, 256): what becomes of every 8-bit value in each channel
//   pixels   (3, height, width), from element `offset` on

struct FirstPass {
  begin: vec2u,        // columns and rows of between that this strip gives: [begin, end)
  end: vec2u,
  last: vec2u,         // of the stored image: its last column and row
  width: u32,          // of between
  first_row: u32,
  taps: u32,
  transposed: u32,     // 0 or 1
  turn: u32,           // from the upright source to the stored image: TURN_TRANSPOSE, then TURN_FLIP_X, TURN_FLIP_Y
  stride: u32,
  strip_row: u32,      // the stored row that source begins with
  swap: u32,           // 1: the source's bytes are blue, green, red
}

struct SecondPass {
  width: u32,          // of the output
  height: u32,
  rows: u32,           // of between
  first_row: u32,
  taps: u32,
  offset: u32,         // elements of pixels ahead of this image
  transposed: u32,     // 0 or 1
  fill: u32,           // of pixels outside the resized image: red, green, blue as in between
}

@group(0) @binding(0) var<uniform> first: FirstPass;
@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(2) var<storage, read> taps: array<i32>;
@group(0) @binding(3) var<storage, read_write> between: array<u32>;
// In the second pass:
@group(0) @binding(0) var<uniform> second: SecondPass;
@group(0) @binding(1) var<storage, read> between_done: array<u32>;
@group(0) @binding(3) var<storage, read> levels: array<f32>;
@group(0) @binding(4) var<storage, read_write> pixels: array<f32>;

const FIRST_ROWS = 4u;
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
  let x = first.begin.x + id.x;
  let row = first.begin.y + id.y * FIRST_ROWS;
  if (x >= first.end.x || row >= first.end.y) {
    return;
  }
  let at = x * (first.taps + 1u);
  let outside = taps[at] < 0;
  var place = vec2u(u32(max(taps[at], 0)), first.first_row + row);
  let down = (first.transposed == 1u) != ((first.turn & TURN_TRANSPOSE) != 0u);  // whether taps follow each other from row to row
  if (down) {
    place = place.yx;
  }
  let flipped = (vec2u(first.turn) & vec2u(TURN_FLIP_X, TURN_FLIP_Y)) != vec2u(0u);
  place = select(place, first.last - place, flipped);
  let forward = vec2u(1u, first.stride);
  let steps = select(forward, vec2u(0u) - forward, flipped);  // to the next pixel in x and in y, modulo 2^32
  let to_tap = select(steps.x, steps.y, down);
  let to_row = select(steps.y, steps.x, down);
  let most = arrayLength(&source) - 1u;
  var index = (place.y - first.strip_row) * first.stride + place.x;
  var sums = array<vec3i, FIRST_ROWS>(vec3i(HALF), vec3i(HALF), vec3i(HALF), vec3i(HALF));
  for (var tap = 1u; tap <= first.taps; tap++) {
    let weight = taps[at + tap];  // 0 where the pixel is not in the strip; a row that is not is not written
    for (var i = 0u; i < FIRST_ROWS; i++) {
      sums[i] += vec3i(unpack(source[min(index + i * to_row, most)])) * weight;
    }
    index += to_tap;
  }
  for (var i = 0u; i < min(FIRST_ROWS, first.end.y - row); i++) {
    let bytes = to_bytes(sums[i]);
    let color = select(bytes, bytes.bgr, first.swap == 1u);
    let packed = color.r | (color.g << 8u) | (color.b << 16u);
    between[(row + i) * first.width + x] = select(packed, OUTSIDE, outside);
  }
}

@compute @workgroup_size(16, 4)
fn resize_second(@builtin(global_invocation_id) id: vec3u) {
  let x = id.x;
  let y = id.y;
  if (x >= second.width || y >= second.height) {
    return;
  }
  let at = y * (second.taps + 1u);
  var bytes = unpack(second.fill);
  if (taps[at] >= 0) {
    let top = u32(taps[at]) - second.first_row;
    if (between_done[top * second.width + x] != OUTSIDE) {
      var sum = vec3i(HALF);
      for (var tap = 0u; tap < second.taps; tap++) {
        let packed = between_done[min(top + tap, second.rows - 1u) * second.width + x];
        sum += vec3i(unpack(packed)) * taps[at + 1u + tap];
      }
      bytes = to_bytes(sum);
    }
  }
  let plane = second.height * second.width;
  let out = second.offset + select(y * second.width + x, x * second.height + y, second.transposed == 1u);
  pixels[out] = levels[bytes.r];
  pixels[out + plane] = levels[256u + bytes.g];
  pixels[out + 2u * plane] = levels[512u + bytes.b];
}
