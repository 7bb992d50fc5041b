// Resizes 8-bit images, one pass along each axis. The result has the same bits as with Pillow. Both passes
// use integer arithmetic and round to 8 bits. The filter's weights are in `taps`. Only pixels inside the crop
// are computed. The second pass also normalises: a table (`levels`) gives the normalised value of each 8-bit
// value. If the crop is larger than the resized image, the pixels outside the image have the colour `fill`.
//
// Pillow resizes horizontally first, except for images that are more than 100 times as tall as wide. Such
// images are `transposed`: rows and columns are swapped when `source` is read and when `pixels` is written.
// Everywhere else in this file, rows and columns are those of the transposed image.
//
// An image may be stored rotated or mirrored (Exif orientation). `turn` maps a pixel of the upright image to
// its stored position. The source is given in strips of stored rows: each dispatch of resize_first computes
// the values of `between` whose taps are all in one strip. In resize_first, a lane computes FIRST_ROWS pixels
// of a column of `between`, which use the same weights. In resize_second, a lane computes one pixel of the
// output.
//
//   source   rows of the stored image, `stride` pixels each, 4 bytes per pixel; the fourth byte is ignored
//   taps     (width, 1 + taps) for each pass: index of the first pixel that is read, then weights with WEIGHT_BITS
//            fractional bits, padded with 0. For a pixel outside the resized image: -1, then zeros
//   between  (rows, width): red, green, blue in bits 0 …, 8 …, 16 …, or OUTSIDE; row 0 is row first_row of the source
//   levels   (3, 256): the normalised value of each 8-bit value, by channel
//   pixels   (3, height, width), beginning at element `offset`

struct FirstPass {
  begin: vec2u,        // columns and rows of `between` that this strip computes: [begin, end)
  end: vec2u,
  last: vec2u,         // last column and last row of the stored image
  width: u32,          // width of `between`
  first_row: u32,
  taps: u32,
  transposed: u32,     // 0 or 1
  turn: u32,           // bit mask, upright to stored image: TURN_TRANSPOSE, then TURN_FLIP_X, TURN_FLIP_Y
  stride: u32,
  strip_row: u32,      // stored row that `source` begins with
  swap: u32,           // 1: the source's bytes are blue, green, red
}

struct SecondPass {
  width: u32,          // width of the output
  height: u32,
  rows: u32,           // rows of `between`
  first_row: u32,
  taps: u32,
  offset: u32,         // elements of `pixels` before this image
  transposed: u32,     // 0 or 1
  fill: u32,           // colour of pixels outside the resized image, in the format of `between`
}

@group(0) @binding(0) var<uniform> first: FirstPass;
@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(2) var<storage, read> taps: array<i32>;
@group(0) @binding(3) var<storage, read_write> between: array<u32>;
// Bindings of the entry point resize_second only.
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

// Rounds a weighted sum of bytes and clips it to 8 bits. `sum` includes HALF, so the shift rounds to the
// nearest value. The shift is arithmetic: it keeps the sign.
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
  // True if consecutive taps (weights of the filter) apply to pixels in consecutive stored rows.
  let down = (first.transposed == 1u) != ((first.turn & TURN_TRANSPOSE) != 0u);
  if (down) {
    place = place.yx;
  }
  let flipped = (vec2u(first.turn) & vec2u(TURN_FLIP_X, TURN_FLIP_Y)) != vec2u(0u);
  place = select(place, first.last - place, flipped);
  let forward = vec2u(1u, first.stride);
  let steps = select(forward, vec2u(0u) - forward, flipped);  // index steps to the next pixel, modulo 2^32
  let to_tap = select(steps.x, steps.y, down);
  let to_row = select(steps.y, steps.x, down);
  let most = arrayLength(&source) - 1u;
  var index = (place.y - first.strip_row) * first.stride + place.x;
  var sums = array<vec3i, FIRST_ROWS>(vec3i(HALF), vec3i(HALF), vec3i(HALF), vec3i(HALF));
  for (var tap = 1u; tap <= first.taps; tap++) {
    let weight = taps[at + tap];  // 0 for padding, whose pixel may be outside the strip
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
