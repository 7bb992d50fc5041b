// Compares this library with ONNX Runtime's WebGPU engine, in turn in Node on one adapter: one image, warm,
// with readback.
//
//   node bench/peers/node.mjs [--adapter any | swiftshader | DRIVER.json] [--model small] [--px 224] [--dtype
//                             fp32] [--form plain,fused] [--flags stock,tuned] [--runs 9] [--seconds 60]
//                             [--json FILE]
//
// Each engine has its own process, which waits while the other processes run. The outputs of the engines are
// compared first: if they disagree, no ratio is printed, and the exit code is 1. There are --runs rounds, or
// fewer if they take longer than --seconds, but at least three.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { TUNED } from '../adapter.mjs';
import { Child, median } from '../child.mjs';
import { agrees, compare } from './compare.mjs';

const { values: options } = parseArgs({
  options: {
    adapter: { type: 'string', default: 'any' },
    model: { type: 'string', default: 'small' },
    px: { type: 'string', default: '224' },
    dtype: { type: 'string', default: 'fp32' },
    form: { type: 'string', default: 'plain,fused' },
    flags: { type: 'string', default: 'stock,tuned' },
    runs: { type: 'string', default: '9' },
    seconds: { type: 'string', default: '60' },
    json: { type: 'string' },
  },
});
const file = (name) => fileURLToPath(new URL(name, import.meta.url));
const log = (text) => process.stderr.write(`${text}\n`);
const ms = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(2));

async function measure(size, px, dtype) {
  const contenders = [];
  const start = async (label, module, env, argument) => {
    const child = new Child(file(module), env);
    const contender = { label, child, wallMs: [], cpuMs: [] };
    contenders.push(contender);
    try {
      const made = await child.call('load', argument);
      contender.output = await child.call('output');
      await child.call('time', { runs: 1 }); // warm-up
      log(`${size} ${px} ${dtype}: ${label} is ready`);
      return made;
    } catch (error) {
      contender.error = error.message.split('\n')[0];
      log(`${size} ${px} ${dtype}: ${label}: ${error.message}`);
      return undefined;
    }
  };
  let info;
  for (const flags of options.flags.split(',')) {
    info =
      (await start(
        `ours, ${flags} flags`,
        'ours.mjs',
        { DAWN_FEATURES: flags === 'tuned' ? TUNED : '' },
        { adapter: options.adapter, size, px, dtype },
      )) ?? info;
  }
  for (const form of options.form.split(',')) {
    await start(
      `ONNX Runtime, ${form}`,
      'onnxruntime.mjs',
      {},
      { adapter: options.adapter, px, name: `dinov2-${size}-${px}-${dtype}-${form}` },
    );
  }
  const ready = contenders.filter(({ error }) => !error);
  const until = performance.now() + Number(options.seconds) * 1000;
  for (let round = 0; round < Number(options.runs) && (round < 3 || performance.now() < until); round++) {
    for (const contender of ready) {
      const { wallMs, cpuMs } = await contender.child.call('time', { runs: 1 });
      contender.wallMs.push(...wallMs);
      contender.cpuMs.push(...cpuMs);
    }
  }
  for (const { child } of contenders) child.end();
  return { size, px, dtype, info, contenders };
}

const rows = [];
let wrong = false;
for (const size of options.model.split(',')) {
  for (const px of options.px.split(',').map(Number)) {
    for (const dtype of options.dtype.split(',')) {
      const { info, contenders } = await measure(size, px, dtype);
      const ours = contenders.filter(({ label, error }) => label.startsWith('ours') && !error);
      for (const { label, wallMs, cpuMs, output, error } of contenders) {
        const row = { adapter: info?.adapter, model: size, px, dtype, label, error };
        rows.push(row);
        if (error) {
          wrong = true;
          continue;
        }
        Object.assign(row, {
          runs: wallMs.length,
          medianMs: median(wallMs),
          fastestMs: Math.min(...wallMs),
          cpuMs: median(cpuMs),
        });
        if (label.startsWith('ours') || !ours[0]) continue;
        Object.assign(row, compare(ours[0].output, output, info.embedDim));
        if (!agrees(row, dtype)) {
          row.error = 'outputs disagree: no ratio';
          wrong = true;
          continue;
        }
        row.ratios = ours.map((our) => ({
          flags: our.label,
          median: row.medianMs / median(our.wallMs),
          fastest: row.fastestMs / Math.min(...our.wallMs),
          cpu: row.cpuMs / median(our.cpuMs),
        }));
      }
    }
  }
}

console.log(
  `\n${new Date().toISOString().slice(0, 10)}, ${rows.find(({ adapter }) => adapter)?.adapter ?? 'no adapter'}: one image, warm, with readback\n`,
);
console.log(
  '| model | px | dtype | engine | runs | median ms | fastest ms | CPU ms | max abs error | smallest cosine | speed-up of ours: median, fastest, CPU time |',
);
console.log('|---|---|---|---|---|---|---|---|---|---|---|');
for (const row of rows) {
  const cells = [row.model, row.px, row.dtype, row.label];
  if (row.medianMs === undefined) cells.push('–', '–', '–', '–', '–', '–', row.error);
  else {
    cells.push(
      row.runs,
      ms(row.medianMs),
      ms(row.fastestMs),
      ms(row.cpuMs),
      row.maxAbsError?.toExponential(1) ?? '',
      row.minCosine?.toFixed(7) ?? '',
    );
    cells.push(
      row.error ??
        row.ratios
          ?.map(
            ({ flags, median: m, fastest, cpu }) =>
              `${flags}: **${m.toFixed(2)}**, ${fastest.toFixed(2)}, ${cpu.toFixed(2)}`,
          )
          .join('; ') ??
        '',
    );
  }
  console.log(`| ${cells.join(' | ')} |`);
}
if (options.json) writeFileSync(options.json, `${JSON.stringify(rows, null, 2)}\n`);
process.exit(wrong ? 1 : 0);
