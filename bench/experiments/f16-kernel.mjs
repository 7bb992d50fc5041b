// Experiment: prints the product of a linear layer with f16 operands in small tiles as WGSL, for machine-code.mjs. The tiles
// of linear_f16.wgsl spill on Intel.
//
//   node bench/experiments/f16-kernel.mjs [--rows 4] [--columns 4] [--run 16] > FOLDER/f16.wgsl
//   node bench/machine-code/machine-code.mjs --file FOLDER/f16.wgsl --entry linear_f16 --family tgl,dg2,lnl
//
// 64 lanes; a lane computes --rows × --columns values (4 or 8). Products are summed in f16 over --run values of k, which are
// a step of the outer loop, and then added to f32 sums. x is staged as f16 without the scaling by a power of two.
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '4' },
    columns: { type: 'string', default: '4' },
    run: { type: 'string', default: '16' },
  },
});
const rows = Number(values.rows) / 4; // groups of 4 rows of a lane
const columns = Number(values.columns) / 4;
const run = Number(values.run);
const range = (count) => [...Array(count).keys()];
const pairs = range(4 * rows).flatMap((row) => range(columns).map((group) => [row, group]));
const lines = (list) => list.join('\n');

console.log(`enable f16;
@group(0) @binding(0) var<storage, read> x: array<vec4f>; // groups of 4 rows at a k
@group(0) @binding(1) var<storage, read> weight: array<vec4<f16>>; // groups of 4 columns at a k
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(3) var<uniform> size: vec4u; // groups of rows, k, vectors of columns
var<workgroup> tile_x: array<vec4<f16>, ${8 * rows * run}u>;
var<workgroup> tile_weight: array<vec4<f16>, ${8 * columns * run}u>;

@compute @workgroup_size(8, 8)
fn linear_f16(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane_x = local.x % 8u;
  let lane_y = local.y % 8u;
  let lane = lane_y * 8u + lane_x;
${lines(pairs.map(([row, at]) => `  var sum_${row}_${at} = vec4f();`))}
  for (var step = 0u; step < size.y / ${run}u; step++) {
    for (var i = 0u; i < ${(8 * rows * run) / 64}u; i++) {
      let at = i * 64u + lane;
      tile_x[at] = vec4<f16>(x[(step * ${run}u + at / ${8 * rows}u) * size.x + group.y * ${8 * rows}u + at % ${8 * rows}u]);
    }
    for (var i = 0u; i < ${(8 * columns * run) / 64}u; i++) {
      let at = i * 64u + lane;
      tile_weight[at] = weight[(step * ${run}u + at / ${8 * columns}u) * size.z + group.x * ${8 * columns}u + at % ${8 * columns}u];
    }
    workgroupBarrier();
${lines(pairs.map(([row, at]) => `    var run_${row}_${at} = vec4<f16>();`))}
    for (var k = 0u; k < ${run}u; k++) {
${lines(range(rows).map((i) => `      let rows${i} = tile_x[k * ${8 * rows}u + lane_y + ${8 * i}u];`))}
${lines(range(columns).map((i) => `      let columns${i} = tile_weight[k * ${8 * columns}u + lane_x + ${8 * i}u];`))}
${lines(pairs.map(([row, at]) => `      run_${row}_${at} = fma(vec4<f16>(rows${row >> 2}[${row % 4}]), columns${at}, run_${row}_${at});`))}
    }
${lines(pairs.map(([row, at]) => `    sum_${row}_${at} += vec4f(run_${row}_${at});`))}
    workgroupBarrier();
  }
${lines(pairs.map(([row, at]) => `  out[(group.y * ${32 * rows}u + ${32 * (row >> 2) + (row % 4)}u + lane_y * 4u) * size.z + group.x * ${8 * columns}u + ${8 * at}u + lane_x] = sum_${row}_${at};`))}
}`);
