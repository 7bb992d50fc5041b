// Measures this adapter and the library in Node (Dawn): two ceilings, every kernel at the models' shapes, and
// whole forward passes.
//
//   npm run bench -- [--quick] [--adapter any | swiftshader | DRIVER.json] [--model small,base,large] [--px
//                    224,518] [--dtype fp32] [--flags stock,tuned] [--seconds 30] [--no-kernels] [--json
//                    FILE]
//
// Prints Markdown; progress goes to stderr. With stock flags, Dawn behaves as in a browser; with tuned flags,
// it does no bounds checks and no validation (bench/adapter.mjs). Each set of flags runs in its own process.
// --seconds limits the forward passes of a model at one size: forward passes that would take longer are not
// run, but estimated from one block. --quick measures ViT-S at 224 with stock flags, for 10 seconds.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { TUNED } from './adapter.mjs';
import { Child } from './child.mjs';
import { library } from './load-source.mjs';

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    adapter: { type: 'string', default: process.env.TEST_ADAPTER ?? 'any' },
    model: { type: 'string' },
    px: { type: 'string' },
    dtype: { type: 'string', default: 'fp32' },
    flags: { type: 'string' },
    seconds: { type: 'string' },
    'no-kernels': { type: 'boolean', default: false },
    json: { type: 'string' },
  },
});
const list = (given, quick, full) => (given ?? (values.quick ? quick : full)).split(',');
const options = {
  adapter: values.adapter,
  models: list(values.model, 'small', 'small,base,large'),
  px: list(values.px, '224', '224,518').map(Number),
  dtypes: values.dtype.split(','),
  seconds: Number(values.seconds ?? (values.quick ? 10 : 30)),
  kernels: !values['no-kernels'],
};

const reports = new Map();
for (const flags of list(values.flags, 'stock', 'stock,tuned')) {
  if (flags !== 'stock' && flags !== 'tuned')
    throw new Error(`--flags: expected stock, tuned or both, found ${flags}.`);
  const child = new Child(fileURLToPath(new URL('in-node.mjs', import.meta.url)), {
    DAWN_FEATURES: flags === 'tuned' ? TUNED : '',
  });
  reports.set(flags, await child.call('measure', options));
  child.end();
}
const { toMarkdown } = await library();
console.log(toMarkdown(reports));
if (values.json) writeFileSync(values.json, `${JSON.stringify(Object.fromEntries(reports), null, 2)}\n`);
process.exit(0);
