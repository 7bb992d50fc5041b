// Makes the tables of onnxruntime-web's programs beside ours: dispatches and bytes of a block, and what compilers of AMD
// and Intel make of every matrix program. One command, without a GPU:
//
//   LAVAPIPE=FOLDER INTEL_STUB=FILE PYTHON=python node bench/peers/kernel-table.mjs [--models small,large]
//     [--px 224,518] [--dtypes fp32,fp16] [--forms plain,fused] FOLDER
//
// LAVAPIPE, INTEL_STUB: see machine-code.mjs. PYTHON needs torch, transformers, onnx and onnxscript. FOLDER gets the
// captures (capture.mjs) and machine-code.json, which time-model.mjs reads; what it already has is not made again.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { source } from '../load-source.mjs';
import { blockOf, bytesOf, programOf } from './captures.mjs';
import { modelsFolder } from './models.mjs';
import { blockBytes } from './our-block.mjs';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    models: { type: 'string', default: 'small,large' },
    px: { type: 'string', default: '224,518' },
    dtypes: { type: 'string', default: 'fp32,fp16' },
    forms: { type: 'string', default: 'plain,fused' },
  },
});
const [folder] = positionals;
mkdirSync(folder, { recursive: true });
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const log = (text) => process.stderr.write(`${text}\n`);

/** The GPUs that capture.mjs states, and the families of GPUs whose compilers get the programs for them. */
const FAMILIES = { amd: ['navi31', 'navi21'], intel: ['tgl', 'dg2'], 'intel-xe2': ['lnl'] };

const names = [];
for (const model of options.models.split(','))
  for (const px of options.px.split(','))
    for (const dtype of options.dtypes.split(','))
      for (const form of options.forms.split(',')) {
        const name = `dinov2-${model}-${px}-${dtype}-${form}-2`;
        names.push({ name, model, px: Number(px), dtype, form });
        if (existsSync(join(modelsFolder, `${name}.onnx`))) continue;
        log(`graph of ${name}`);
        const args = ['--model', model, '--px', px, '--dtype', dtype, '--form', form, '--blocks', '2'];
        execFileSync(process.env.PYTHON ?? 'python3', [here('make_onnx.py'), modelsFolder, ...args]);
      }
const captureOf = ({ name }, gpu) => {
  const file = join(folder, `${name}.${gpu}.json`);
  if (!existsSync(file)) {
    log(`capture of ${name} for ${gpu}`);
    const output = execFileSync(
      process.execPath,
      [here('capture.mjs'), '--name', name, '--gpu', gpu, folder],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    if (!existsSync(file)) writeFileSync(file, JSON.stringify({ error: `not captured: ${output}` }));
  }
  const capture = JSON.parse(readFileSync(file, 'utf8'));
  if (capture.error) log(`${name}, ${gpu}: ${capture.error}`);
  return capture.error ? undefined : capture;
};

const cacheFile = join(folder, 'machine-code.json');
const cache = existsSync(cacheFile) ? JSON.parse(readFileSync(cacheFile, 'utf8')) : {};

/** Runs machine-code.mjs. Returns its rows: what Mesa makes of a kernel on a family of GPUs. */
function machineCode(key, args) {
  if (!cache[key]) {
    log(`machine code: ${key}`);
    const script = here('../machine-code/machine-code.mjs');
    const text = execFileSync(process.execPath, [script, ...args], { encoding: 'utf8', maxBuffer: 1 << 26 });
    cache[key] = text
      .split('\n')
      .filter((line) => line.startsWith('| ') && !line.startsWith('| kernel'))
      .map((line) => line.split('|').map((cell) => cell.trim()))
      .map(([, label, family, , share, loop, registers]) => {
        const count = (what) => Number(loop?.match(new RegExp(`(\\d+) ${what}`))?.[1] ?? 0);
        const reads = count('LDS read');
        return {
          label,
          family,
          share: parseInt(share) / 100 || undefined, // 0: the products are outside of loops
          perRead: reads ? count('multiply-add') / reads : undefined,
          registers: registers?.match(/^(\d+ VGPRs|SIMD\d+, \d+ live)/)?.[1],
          spills: Number(registers?.match(/(\d+) spill/)?.[1] ?? 0),
        };
      });
    writeFileSync(cacheFile, JSON.stringify(cache, null, 1));
  }
  return cache[key];
}

// Dispatches and bytes of a block.
console.log('| model, size, type | ours | `plain` | `fused` |\n|---|---|---|---|');
const programs = new Map(); // by kind, type and family
const cells = new Map();
for (const each of names) {
  const key = `${each.model}, ${each.px}, ${each.dtype}`;
  if (!cells.has(key)) {
    const { dispatches, bytes } = await blockBytes(each.model, each.px, each.dtype);
    cells.set(key, { ours: `${dispatches}, ${(bytes / 1e6).toFixed(1)} MB` });
  }
  for (const [gpu, families] of Object.entries(FAMILIES)) {
    const capture = captureOf(each, gpu);
    const block = capture && blockOf(capture.dispatches);
    if (!block) continue;
    const bytes = block.reduce((sum, dispatch) => sum + bytesOf(dispatch), 0);
    if (gpu === 'amd') cells.get(key)[each.form] = `${block.length}, ${(bytes / 1e6).toFixed(1)} MB`;
    for (const { hash } of capture.dispatches) {
      const { kind, type } = programOf(folder, hash);
      if (kind === 'other') continue;
      for (const family of families) {
        const row = `${kind}, ${type}`;
        if (!programs.has(row)) programs.set(row, new Map());
        const byFamily = programs.get(row);
        if (!byFamily.has(family)) byFamily.set(family, new Set());
        byFamily.get(family).add(hash);
      }
    }
  }
}
for (const [key, { ours, plain = 'not captured', fused = 'not captured' }] of cells)
  console.log(`| ${key} | ${ours} | ${plain} | ${fused} |`);

// Machine code.
const families = Object.values(FAMILIES).flat();
const range = (values, format) => {
  // Programs that differ in constants only have one value.
  const texts = [...new Set(values.filter((value) => value !== undefined).map(format))];
  return texts.join(' / ');
};
const cellOf = (rows) => {
  if (rows.length === 0) return '–';
  const share =
    range(
      rows.map((row) => row.share),
      (value) => `${(100 * value).toFixed(0)} %`,
    ) || 'no loop';
  const parts = [
    share,
    range(
      rows.map((row) => row.perRead),
      (value) => `${value.toFixed(1)} per read`,
    ),
  ];
  parts.push(
    range(
      rows.map((row) => row.registers),
      (value) => value,
    ),
  );
  const spills = Math.max(...rows.map((row) => row.spills));
  if (spills > 0) parts.push(`${spills} spills`);
  return parts.filter(Boolean).join(', ');
};
console.log(`\n| program | ${families.join(' | ')} |\n|---|${families.map(() => '---|').join('')}`);
for (const [row, byFamily] of [...programs].sort(([a], [b]) => (a < b ? -1 : 1))) {
  const line = families.map((family) => {
    const all = [...(byFamily.get(family) ?? [])];
    return cellOf(
      all.flatMap((hash) =>
        machineCode(`${hash} ${family}`, [
          '--family',
          family,
          '--entry',
          'main',
          '--file',
          join(folder, `${hash}.wgsl`),
        ]),
      ),
    );
  });
  console.log(`| \`${row.split(', ')[0]}\`, ${row.split(', ').slice(1).join(', ')} | ${line.join(' | ')} |`);
}
const ours = machineCode('ours', ['--only', 'attn', '--weights', 'f32,f16']);
/** Our kernels, by the beginning of their labels in machine-code.mjs. */
const OURS = {
  'ours: `linear`, f32': /^linear\.linear f32 64 columns/,
  'ours: `linear`, f16 weights staged as f32': /^linear\.linear f16 staged as f32 64 columns/,
  'ours: `linear_narrow`, f32': /^linear_narrow\.\S+ f32/,
  'ours: `linear_f16`': /^linear_f16\.linear f16 staged as f16 64 columns/,
  'ours: `linear_narrow_f16`': /^linear_narrow_f16\./,
  'ours: attention, f32': /^attention\.\S+ +32 queries/,
};
for (const [title, pattern] of Object.entries(OURS)) {
  const line = families.map((family) =>
    cellOf(ours.filter((row) => row.family === family && pattern.test(row.label))),
  );
  console.log(`| ${title} | ${line.join(' | ')} |`);
}
await source('bench/entry.ts'); // keeps the server of the sources alive until here
process.exit(0);
