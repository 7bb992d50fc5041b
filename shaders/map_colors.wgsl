// Colours of a map with one value for each patch. Two dispatches: map_range finds the smallest and the largest
// value, and map_colors interpolates the colour of each value between equally distant stops of a colour map.
// map_colors can also be run alone, with a given range.
//
//   values  (count) f32: NaN has no colour
//   range   (2): the values of the first and the last colour; equal if all values are equal
//   stops   (num_stops): red, green, blue from 0 to 255
//   rgba    (count): r, g, b, a of 8 bits each, r in the lowest byte; 0, which is transparent, for NaN
//
// Constants: none. Workgroups: map_range 1; map_colors ceil(count / 64).

struct MapSize {
  count: u32,
  num_stops: u32,
}

@group(0) @binding(0) var<uniform> size: MapSize;
@group(0) @binding(1) var<storage, read> values: array<u32>;
// Binding of the entry point map_range only.
@group(0) @binding(2) var<storage, read_write> range: array<f32>;
// Bindings of the entry point map_colors only.
@group(0) @binding(2) var<storage, read> ends: array<f32>;
@group(0) @binding(3) var<storage, read> stops: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> rgba: array<u32>;

const LARGEST = 3.4028234e38;

var<workgroup> lows: array<f32, 64>;
var<workgroup> highs: array<f32, 64>;

// Tests the bits, because a compiler may assume that values are finite.
fn is_number(bits: u32) -> bool {
  return (bits & 0x7fffffffu) <= 0x7f800000u;
}

@compute @workgroup_size(64)
fn map_range(@builtin(local_invocation_index) lane: u32) {
  var low = LARGEST;
  var high = -LARGEST;
  for (var i = lane; i < size.count; i += 64u) {
    let bits = values[i];
    if (is_number(bits)) {
      low = min(low, bitcast<f32>(bits));
      high = max(high, bitcast<f32>(bits));
    }
  }
  lows[lane] = low;
  highs[lane] = high;
  workgroupBarrier();
  if (lane == 0u) {
    for (var k = 1u; k < 64u; k++) {
      low = min(low, lows[k]);
      high = max(high, highs[k]);
    }
    range[0] = low;
    range[1] = high;
  }
}

@compute @workgroup_size(64)
fn map_colors(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= size.count) {
    return;
  }
  let bits = values[id.x];
  let width = ends[1] - ends[0];
  let share = select(0.5, clamp((bitcast<f32>(bits) - ends[0]) / max(width, 1e-38), 0.0, 1.0), width > 0.0);
  let place = share * f32(size.num_stops - 1u);
  let stop = min(u32(place), size.num_stops - 2u);
  let color = vec4u(round(mix(stops[stop], stops[stop + 1u], place - f32(stop))));
  let packed = color.x | (color.y << 8u) | (color.z << 16u) | (255u << 24u);
  rgba[id.x] = select(0u, packed, is_number(bits));
}
