// Experiment: prints a linear layer with int8 products (`dot4I8Packed`) as WGSL, for machine-code.mjs.
//
//   node bench/experiments/int8-kernel.mjs [--rows 8] [--columns 8] > FOLDER/int8.wgsl
//   node bench/machine-code/machine-code.mjs --file FOLDER/int8.wgsl --entry linear_int8
//
// A lane computes --rows × --columns values of a tile of 64 rows × 64 columns, or 32 rows with --rows 4, 32 columns with
// --columns 4. x is int8 with a scale for each row and 64 values of k; the weights are int8 with a scale for each column,
// four consecutive values of k in a word. A step processes 64 values of k: the products are summed in i32, and the sum
// times the scale of x is added to an f32 sum. Quantizing x takes a dispatch before it, which is not part of the kernel.
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { rows: { type: 'string', default: '8' }, columns: { type: 'string', default: '8' } },
});
const rows = Number(values.rows) / 4; // groups of 4 rows of a lane
const columns = Number(values.columns) / 4;
const range = (count) => [...Array(count).keys()];
const pairs = range(4 * rows).flatMap((row) => range(columns).map((group) => [row, group]));
const lines = (list) => list.join('\n');

console.log(`
@group(0) @binding(0) var<uniform> size: vec4u; // rows, words of k, vectors of columns
@group(0) @binding(1) var<storage, read> x: array<vec4u>;
@group(0) @binding(2) var<storage, read> x_scale: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<vec4u>;
@group(0) @binding(4) var<storage, read> weight_scale: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;
const PITCH = 17u; // 16 words of k, plus 1 to avoid bank conflicts
var<workgroup> tile_x: array<vec4u, ${8 * rows}u * PITCH>; // 4 rows at a word of k
var<workgroup> tile_weight: array<vec4u, ${8 * columns}u * PITCH>; // 4 columns at a word of k
var<workgroup> tile_scale: array<vec4f, ${8 * rows}>;

@compute @workgroup_size(8, 8)
fn linear_int8(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane_x = local.x % 8u;
  let lane_y = local.y % 8u;
  let lane = lane_y * 8u + lane_x;
  let first = group.y * ${32 * rows}u;
  let quads = size.y / 4u;
${lines(pairs.map(([row, at]) => `  var sum_${row}_${at} = vec4f();`))}
  for (var step = 0u; step < size.y / 16u; step++) {
    ${rows === 1 ? 'if (lane < 32u) ' : ''}{
      let quarter = lane % 4u;
      let row_group = lane / 4u % ${8 * rows}u;
${lines(range(4).map((i) => `      let x${i} = x[min(first + row_group * 4u + ${i}u, size.x - 1u) * quads + step * 4u + quarter];`))}
      let to = row_group * PITCH + quarter * 4u;
${lines(
  range(4).map(
    (i) =>
      `      tile_x[to + ${i}u] = vec4u(${range(4)
        .map((row) => `x${row}[${i}]`)
        .join(', ')});`,
  ),
)}
    }
    if (lane < ${8 * rows}u) {
      let at = first + lane * 4u;
      tile_scale[lane] = vec4f(${range(4)
        .map((i) => `x_scale[min(at + ${i}u, size.x - 1u) * (size.y / 16u) + step]`)
        .join(', ')});
    }
    for (var i = 0u; i < ${2 * columns}u; i++) {
      let word = i * ${8 / columns}u + lane / ${8 * columns}u;
      tile_weight[lane % ${8 * columns}u * PITCH + word] = weight[(step * 16u + word) * size.z + group.x * ${8 * columns}u + lane % ${8 * columns}u];
    }
    workgroupBarrier();
${lines(pairs.map(([row, at]) => `    var dot_${row}_${at} = vec4i();`))}
    for (var word = 0u; word < 16u; word++) {
${lines(range(rows).map((i) => `      let rows${i} = tile_x[(lane_y + ${8 * i}u) * PITCH + word];`))}
${lines(range(columns).map((i) => `      let columns${i} = tile_weight[(lane_x + ${8 * i}u) * PITCH + word];`))}
${lines(
  pairs.map(([row, at]) => {
    const products = range(4).map((i) => `dot4I8Packed(rows${row >> 2}[${row % 4}], columns${at}[${i}])`);
    return `      dot_${row}_${at} += vec4i(${products.join(', ')});`;
  }),
)}
    }
${lines(range(rows).map((i) => `    let scale${i} = tile_scale[lane_y + ${8 * i}u];`))}
${lines(pairs.map(([row, at]) => `    sum_${row}_${at} = fma(vec4f(scale${row >> 2}[${row % 4}]), vec4f(dot_${row}_${at}), sum_${row}_${at});`))}
    workgroupBarrier();
  }
${lines(
  pairs.map(
    ([row, at]) => `  {
    let row = first + ${32 * (row >> 2) + (row % 4)}u + lane_y * 4u;
    let column = group.x * ${8 * columns}u + ${8 * at}u + lane_x;
    if (row < size.x) { out[row * size.z + column] = sum_${row}_${at} * weight_scale[column]; }
  }`,
  ),
)}
}`);
