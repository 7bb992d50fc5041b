// Compiles the kernels to machine code for GPUs that the machine does not have: Tint (in Dawn) compiles WGSL
// to SPIR-V, and Mesa compiles SPIR-V for AMD and Intel GPUs. Prints a table with registers, spills,
// occupancy, and the instructions of each kernel's densest loop. For linear layers also: the instructions for
// each value of k (the input feature) in that loop, and together with the loops around it, which copy operands
// to workgroup memory and add sums of f16 to sums of f32.
//
//   LAVAPIPE=FOLDER [INTEL_STUB=FILE] node bench/machine-code/machine-code.mjs
//     [--family navi31,navi21,tgl,dg2,lnl] [--model small] [--weights f32,f16] [--operands f32,f16] [--arithmetic f32,f16]
//     [--only TEXT] [--assembly] [--file KERNEL.wgsl --entry NAME]
//
// FOLDER: the folder that scripts/get-lavapipe.sh filled; it contains Mesa's drivers for AMD and Intel too.
// FILE: the result of get-intel-stub.sh; without it, Intel is left out. AMD: navi31 (RDNA 3), navi21 (RDNA
// 2). Intel: tgl (Xe-LP), dg2 (Arc), lnl (Xe2). --file compiles only this kernel. Debian: `apt-get install
// spirv-tools libvulkan-dev gcc`.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = dirname(fileURLToPath(import.meta.url));
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    family: { type: 'string', default: 'navi31,navi21,tgl,dg2,lnl' },
    model: { type: 'string', default: 'small' },
    weights: { type: 'string', default: 'f32,f16' },
    operands: { type: 'string', default: 'f32,f16' },
    arithmetic: { type: 'string', default: 'f32,f16' },
    only: { type: 'string', default: '' },
    assembly: { type: 'boolean', default: false },
    file: { type: 'string' },
    entry: { type: 'string' },
    dump: { type: 'boolean', default: false },
  },
});

if (options.dump) await dump(positionals[0], positionals[1]);

/**
 * Compiles a kernel with Dawn, which prints the SPIR-V to standard output. Runs in a second process, whose
 * environment selects lavapipe.
 */
async function dump(file, entryPoint) {
  const { create, globals } = await import('webgpu');
  Object.assign(globalThis, globals);
  const gpu = create(['enable-dawn-features=dump_shaders,allow_unsafe_apis']);
  const adapter = await gpu.requestAdapter();
  const device = await adapter.requestDevice({
    requiredFeatures: ['shader-f16', 'subgroups'].filter((feature) => adapter.features.has(feature)),
  });
  const module = device.createShaderModule({ code: readFileSync(file, 'utf8') });
  device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint } });
  await device.queue.onSubmittedWorkDone();
  process.exit(gpu ? 0 : 1); // uses `gpu`, so that it is not garbage-collected earlier
}

const lavapipe = resolve(process.env.LAVAPIPE ?? 'lavapipe');
const library = join(lavapipe, 'root/usr/lib/x86_64-linux-gnu');
if (!existsSync(join(lavapipe, 'lavapipe.json')))
  throw new Error(
    `no lavapipe.json in ${lavapipe}: set LAVAPIPE to the folder that scripts/get-lavapipe.sh filled`,
  );
const scratch = mkdtempSync(join(tmpdir(), 'machine-code-'));
const at = (name) => join(scratch, name);
const environment = { ...process.env, LD_LIBRARY_PATH: library, XDG_RUNTIME_DIR: tmpdir() };
execFileSync('cc', ['-O1', '-o', at('compile-spirv'), join(here, 'compile-spirv.c'), '-lvulkan']);
for (const driver of ['radeon', 'intel']) {
  writeFileSync(
    at(`${driver}.json`),
    JSON.stringify({
      file_format_version: '1.0.0',
      ICD: { api_version: '1.4.305', library_path: join(library, `libvulkan_${driver}.so`) },
    }),
  );
}

/** Tint's SPIR-V for one entry point, as text. */
function spirvOf(code, entryPoint) {
  writeFileSync(at('kernel.wgsl'), code);
  const log = openSync(at('dawn.log'), 'w'); // a file, because a pipe may lose the last output when the process exits
  spawnSync(process.execPath, [fileURLToPath(import.meta.url), '--dump', at('kernel.wgsl'), entryPoint], {
    env: { ...environment, VK_DRIVER_FILES: join(lavapipe, 'lavapipe.json') },
    stdio: ['ignore', log, log],
  });
  const text = readFileSync(at('dawn.log'), 'utf8');
  const spirv = text.split('/* Dumped SPIRV disassembly */')[1]?.split(/^(?:info|warning|error):/m)[0];
  if (!spirv?.includes('OpFunctionEnd'))
    throw new Error(`Dawn did not compile ${entryPoint}:\n${text.slice(-2000)}`);
  return spirv;
}

const amd = {
  'multiply-add': /^v_(dual_)?(pk_)?(fma|mad|dot2|wmma)|^v_(dual_)?fmac|^v_dot/,
  'LDS read': /^ds_(load|read)/,
  'LDS write': /^ds_(store|write)/,
  'memory read': /^(buffer|global|scratch|s_buffer)_load/,
  'memory write': /^(buffer|global)_store/,
  move: /^v_(dual_)?(mov|perm|pack|cvt)/,
  'other vector': /^v_/,
  wait: /^s_(waitcnt|wait_|barrier|nop|delay)/,
  scalar: /^s_/,
};
const intel = {
  'multiply-add': /^(mad|dpas|dp4a)\b/,
  message: /^sends?\b/,
  move: /^(mov|sel)\b/,
  wait: /^sync\b/,
  other: /^[a-z][a-z0-9.]*\(/,
};

/**
 * Finds the loop with the largest share of multiply-adds. A loop is found as a jump to an earlier label. Dual
 * instructions of RDNA 3 count twice.
 */
function densestLoop(assembly, jump, kinds) {
  const lines = assembly.split('\n').map((line) => line.trim().replace(/^\([^)]*\)\s*/, ''));
  const labels = new Map();
  lines.forEach((line, index) => {
    const name = line.match(/^(\w+):/)?.[1];
    if (name) labels.set(name, index);
  });
  const loops = [];
  lines.forEach((line, end) => {
    const start = labels.get(line.match(jump)?.[1]);
    if (start === undefined || start > end) return;
    const count = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, 0]));
    for (const inside of lines.slice(start, end + 1)) {
      for (const half of inside.split(' :: ')) {
        const kind = Object.keys(kinds).find((name) => kinds[name].test(half));
        if (kind) count[kind] += 1;
      }
    }
    const total = Object.values(count).reduce((a, b) => a + b, 0);
    loops.push({ start, end, count, total, share: count['multiply-add'] / total });
  });
  if (loops.length === 0) return undefined;
  const best = loops.reduce((a, b) => (b.share > a.share ? b : a));
  const around = loops.filter(({ start, end }) => start <= best.start && end >= best.end);
  around.sort((a, b) => a.end - a.start - (b.end - b.start));
  const inside = (outer, { start, end }) => start >= outer.start && end <= outer.end;
  // Counts the instructions of a loop without those of the loops inside it.
  const own = around.map((outer) => {
    const inner = loops.filter((loop) => loop !== outer && inside(outer, loop));
    const direct = inner.filter((loop) => !inner.some((other) => other !== loop && inside(other, loop)));
    return outer.total - direct.reduce((sum, { total }) => sum + total, 0);
  });
  return { ...best, own };
}

/**
 * How many values of k an iteration of each loop of a linear layer's product processes, from the innermost loop to the
 * outermost. Compilers may unroll the loop over the two runs of linear_narrow_f16.
 */
const valuesOfK = {
  linear: [[2, 16]],
  linear_narrow: [[4, 32]],
  linear_tall: [[16], [2, 16]],
  linear_f16: [[4, 16]],
  linear_narrow_f16: [
    [4, 16, 32],
    [4, 32],
  ],
};

/** Instructions for each value of k: of the densest loop, and of it and the loops around it. */
function perK(name, own) {
  const values = valuesOfK[name]?.find(({ length }) => length === own.length);
  if (!values) return '';
  const parts = own.map((count, i) => count / values[i]);
  return `${parts[0].toFixed(1)}, ${parts.reduce((a, b) => a + b).toFixed(1)}`;
}

/** Compiles kernel.spv for a GPU family. Returns the cells of its row in the table. */
function compileFor(family, entryPoint, name) {
  const isAmd = /^(navi|vega|gfx)/.test(family);
  if (!isAmd && !process.env.INTEL_STUB) return 'left out: INTEL_STUB is not set';
  const driver = isAmd
    ? { VK_DRIVER_FILES: at('radeon.json'), RADV_FORCE_FAMILY: family }
    : {
        VK_DRIVER_FILES: at('intel.json'),
        INTEL_STUB_GPU_PLATFORM: family,
        LD_PRELOAD: resolve(process.env.INTEL_STUB),
      };
  const { status, stdout, stderr } = spawnSync(at('compile-spirv'), ['-a', at('kernel.spv'), entryPoint], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...environment, ...driver },
  });
  if (status !== 0) return stderr.trim().split('\n').at(-1);
  const stat = (name) => Number(stdout.match(new RegExp(`^${name}: (\\d+)`, 'm'))?.[1]);
  const assembly = stdout.split(isAmd ? '=== Assembly' : /=== GEN Assembly/).at(-1);
  if (options.assembly) console.log(assembly);
  const loop = densestLoop(
    assembly,
    isAmd ? /^s_c?branch\S*\s+(BB\d+)/ : /^while\(\d+\)\s+JIP:\s+(LABEL\d+)/,
    isAmd ? amd : intel,
  );
  const registers = isAmd
    ? `${stat('VGPRs')} VGPRs, ${stat('Spilled VGPRs')} spilled, ${stat('Subgroups per SIMD')} subgroups a SIMD, throughput ${stat('Inverse Throughput')}`
    : `SIMD${stat('Max dispatch width')}, ${stat('Max live registers')} live, ${stat('Spill Count')} spills, ${stat('Fill Count')} fills, ${stat('Cycle Count')} cycles`;
  if (!loop) return `| | | ${registers}`;
  const parts = Object.entries(loop.count).filter(([, count]) => count > 0);
  return `${perK(name, loop.own)} | ${(100 * loop.share).toFixed(0)} % | ${parts.map(([kind, count]) => `${count} ${kind}`).join(', ')} | ${registers}`;
}

const { source } = await import('../load-source.mjs');
const [
  { configOf },
  { buildForward },
  { alternatives },
  { assemble },
  { weightHelpers },
  { EVERY_TILE },
  { f16Kernels },
] = await Promise.all(
  [
    'src/model/config.ts',
    'src/model/vit.ts',
    'src/gpu/lowering.ts',
    'src/gpu/kernels/kernel.ts',
    'src/gpu/kernels/kernels.ts',
    'src/gpu/kernels/tunedKernels.ts',
    'src/gpu/kernels/f16Kernels.ts',
  ].map(source),
);
const { graph } = buildForward(configOf(options.model), { batch: 1, rows: 16, cols: 16 });
const oneBlock = graph.nodes.filter(
  ({ label }) => !label.startsWith('blocks.') || label.startsWith('blocks.0.'),
);

console.log(
  '| kernel | GPU | instructions for each k: densest loop, all loops | multiply-adds in the densest loop | the loop | registers | clamps, guards |\n|---|---|---|---|---|---|---|',
);
const seen = new Set();
const list = (text) => text.split(',');
const single = options.file && {
  variant: {
    kernel: {
      name: options.file,
      text: readFileSync(options.file, 'utf8'),
      entryPoint: options.entry,
      shared: [],
    },
    constants: {},
  },
  node: { label: '' },
};
const variants = single
  ? [single]
  : list(options.weights).flatMap((weights) =>
      list(options.operands).flatMap((operands) =>
        list(options.arithmetic).flatMap((arithmetic) => {
          if (arithmetic === 'f16' && (weights !== 'f16' || operands !== 'f16')) return [];
          const f16 = arithmetic === 'f16' ? f16Kernels : undefined;
          const target = { software: false, ...EVERY_TILE, weights, operands, f16 };
          return oneBlock.flatMap((node) =>
            alternatives(node, target).map(({ variant }) => ({ variant, node })),
          );
        }),
      ),
    );
for (const { variant, node } of variants) {
  const { entryPoint, name } = variant.kernel;
  const code = assemble(variant, weightHelpers);
  const columns = variant.constants.LANES_X ? `${8 * variant.constants.LANES_X} columns ` : '';
  const queries = variant.constants.QUERY_GROUPS ? `${4 * variant.constants.QUERY_GROUPS} queries ` : '';
  const staged = variant.operands && variant.weights === 'f16' ? `staged as ${variant.operands} ` : '';
  const label = `${name}.${entryPoint} ${variant.weights ?? ''} ${staged}${columns}${queries}${node.label.replace('blocks.0.', '')}`;
  if (seen.has(entryPoint + code) || !label.includes(options.only)) continue;
  seen.add(entryPoint + code);
  const spirv = spirvOf(code, entryPoint);
  // Debian 12's assembler does not know the execution mode MaximallyReconverges, which does not affect the
  // loops.
  writeFileSync(
    at('kernel.spvasm'),
    spirv
      .split('\n')
      .filter((line) => !/MaximallyReconverges|SPV_KHR_maximal_reconvergence/.test(line))
      .join('\n'),
  );
  execFileSync('spirv-as', [
    '--target-env',
    'vulkan1.3',
    '--preserve-numeric-ids',
    at('kernel.spvasm'),
    '-o',
    at('kernel.spv'),
  ]);
  const spirvEntry = spirv.match(/OpEntryPoint GLCompute %\S+ "([^"]+)"/)[1];
  const clamps = (spirv.match(/ UMin /g) ?? []).length;
  const guards = (spirv.match(/OpTypeInt 64|%v2uint = OpTypeVector %uint 2/g) ?? []).length;
  for (const family of list(options.family))
    console.log(`| ${label} | ${family} | ${compileFor(family, spirvEntry, name)} | ${clamps}, ${guards} |`);
}
process.exit(0);
