// Draws a picture with one colour for each patch on the whole of a render target: each patch as a rectangle, or
// with bilinear interpolation between the centres of the patches. The fragment shader computes one pixel.
//
//   rgba    (rows, cols): r, g, b, a of 8 bits each, r in the lowest byte, alpha not multiplied
//   target  (height, width): colours multiplied by alpha. Colours are interpolated after the multiplication, so
//           that a transparent patch does not darken the edge of its neighbour
//
// Positions are integers in units of 1 / (2 · size) of a patch, because f32 rounds differently on each adapter.
// Their largest value is below 2³², because WebGPU limits the sides of a texture and the patches of an image.

struct DrawnPicture {
  rows: u32,
  cols: u32,
  width: u32,
  height: u32,
  bilinear: u32,  // 0: the colour of the patch at the pixel's centre
  linear: u32,    // 1: the target's format encodes linear light as sRGB, so this shader must decode the colours
}

@group(0) @binding(0) var<uniform> picture: DrawnPicture;
@group(0) @binding(1) var<storage, read> rgba: array<u32>;

// Three vertices: a triangle that covers the target.
@vertex
fn draw_patches_vertex(@builtin(vertex_index) vertex: u32) -> @builtin(position) vec4f {
  return vec4f(f32(vertex & 1u) * 4.0 - 1.0, f32(vertex >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

fn color_at(col: u32, row: u32) -> vec4f {
  let color = unpack4x8unorm(rgba[row * picture.cols + col]);
  return vec4f(color.rgb * color.a, color.a);
}

// Decodes sRGB (IEC 61966-2-1) to linear light.
fn decoded(color: vec4f) -> vec4f {
  let plain = color.rgb / max(color.a, 1e-6);
  let low = plain / 12.92;
  let high = pow((plain + 0.055) / 1.055, vec3f(2.4));
  return vec4f(select(high, low, plain <= vec3f(0.04045)) * color.a, color.a);
}

@fragment
fn draw_patches(@builtin(position) position: vec4f) -> @location(0) vec4f {
  let size = vec2u(picture.width, picture.height);
  let patches = vec2u(picture.cols, picture.rows);
  let center = (2u * vec2u(position.xy) + 1u) * patches;
  // Without interpolation, the first patch has all the weight. With interpolation, the centres of the first
  // patches are half a patch from the edge, and pixels beyond them get the colour of the edge.
  let from_first = select(center, max(center, size) - size, picture.bilinear != 0u);
  let first = from_first / (2u * size);
  let second = min(first + 1u, patches - 1u);
  let weight = vec2f(from_first % (2u * size)) / vec2f(2u * size) * f32(picture.bilinear);
  let top = mix(color_at(first.x, first.y), color_at(second.x, first.y), weight.x);
  let bottom = mix(color_at(first.x, second.y), color_at(second.x, second.y), weight.x);
  let color = mix(top, bottom, weight.y);
  if (picture.linear != 0u) {
    return decoded(color);
  }
  return color;
}
