// Compares this library with onnxruntime-web's WebGPU engine, in turn in one page of Chromium on one adapter:
// one image, warm, with readback.
//
//   node bench/peers/chromium.mjs [--gpu swiftshader | any] [--model small] [--px 224] [--dtype fp32] [--form
//   plain,fused] [--runs 9] [--seconds 60] [--json FILE]
//
// CHROMIUM_PATH selects the browser. As in node.mjs, if outputs disagree, no ratio is printed, and the exit
// code is 1.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { openPage } from '../browser.mjs';
import { median } from '../child.mjs';
import { library } from '../load-source.mjs';
import { agrees } from './compare.mjs';
import { prepareModel } from './models.mjs';

const { values: options } = parseArgs({
  options: {
    gpu: { type: 'string', default: 'swiftshader' },
    model: { type: 'string', default: 'small' },
    px: { type: 'string', default: '224' },
    dtype: { type: 'string', default: 'fp32' },
    form: { type: 'string', default: 'plain,fused' },
    runs: { type: 'string', default: '9' },
    seconds: { type: 'string', default: '60' },
    json: { type: 'string' },
  },
});
const { syntheticTensor, f32ToF16 } = await library();
const results = [];
let wrong = false;
const { page, close } = await openPage('bench/peers/browser.html', options.gpu);
try {
  await page.waitForFunction(() => 'measure' in window, undefined, { timeout: 120_000 });
  for (const size of options.model.split(',')) {
    for (const px of options.px.split(',').map(Number)) {
      for (const dtype of options.dtype.split(',')) {
        const names = options.form.split(',').map((form) => `dinov2-${size}-${px}-${dtype}-${form}`);
        for (const name of names) await prepareModel(name, { syntheticTensor, f32ToF16 });
        const measured = await page.evaluate((argument) => window.measure(argument), {
          size,
          px,
          dtype,
          names,
          runs: Number(options.runs),
          seconds: Number(options.seconds),
        });
        results.push({ size, px, dtype, ...measured });
      }
    }
  }
} finally {
  await close();
}
console.log(
  `${new Date().toISOString().slice(0, 10)}, ${results[0].adapter}, ${results[0].browser}: one image, warm, with readback\n`,
);
console.log(
  '| model | px | dtype | engine | runs | median ms | fastest ms | max abs error | smallest cosine | speed-up of ours: median, fastest |',
);
console.log('|---|---|---|---|---|---|---|---|---|---|');
for (const { size, px, dtype, contenders } of results) {
  const [ours] = contenders;
  for (const contender of contenders) {
    const { label, ms, error, maxAbsError, minCosine } = contender;
    const cells = [size, px, dtype, label];
    if (error) {
      wrong = true;
      cells.push('–', '–', '–', '–', '–', error);
    } else {
      cells.push(
        ms.length,
        median(ms).toFixed(1),
        Math.min(...ms).toFixed(1),
        maxAbsError?.toExponential(1) ?? '',
        minCosine?.toFixed(7) ?? '',
      );
      if (contender === ours) cells.push('');
      else if (agrees(contender, dtype))
        cells.push(
          `**${(median(ms) / median(ours.ms)).toFixed(2)}**, ${(Math.min(...ms) / Math.min(...ours.ms)).toFixed(2)}`,
        );
      else {
        wrong = true;
        cells.push('outputs disagree: no ratio');
      }
    }
    console.log(`| ${cells.join(' | ')} |`);
  }
}
if (options.json) writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
process.exit(wrong ? 1 : 0);
