// A folder of photographs of 12 megapixels becomes an index: how fast, against decoding the same files and
// nothing else, as many at once as is fastest.
//
//   node bench/ingest.mjs [--gpu swiftshader | any] [--count 24] [--model tiny | small] [--where page,worker]
//   [--thumbnails 0,256] [--batch 8] [--runs 3] [--photo FILE.jpg] [--no-stub]
//
// What the GPU does with whole photographs is stubbed unless --no-stub says otherwise: where a processor plays
// the GPU it takes longer than all the rest. The fastest of the runs counts.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { openPage } from './browser.mjs';

const { values } = parseArgs({
  options: {
    gpu: { type: 'string', default: 'swiftshader' },
    count: { type: 'string', default: '24' },
    model: { type: 'string', default: 'tiny' },
    where: { type: 'string', default: 'page,worker' },
    thumbnails: { type: 'string', default: '0,256' },
    batch: { type: 'string' },
    runs: { type: 'string', default: '3' },
    photo: { type: 'string' },
    'no-stub': { type: 'boolean', default: false },
  },
});
const [count, runs] = [Number(values.count), Number(values.runs)];
const stub = !values['no-stub'];
const { page, close } = await openPage('bench/ingest.html', values.gpu);
try {
  await page.waitForFunction(() => 'bench' in globalThis, undefined, { timeout: 120_000 });
  const bytes = await page.evaluate(
    ([many, photo]) => globalThis.bench.prepare(many, photo),
    [count, values.photo && readFileSync(values.photo).toString('base64')],
  );
  const best = new Map();
  const note = (name, ms, more = {}) => {
    const { longestTaskMs = 0, mostBitmapBytes = 0 } = best.get(name) ?? {};
    best.set(name, {
      ms: Math.min(ms, best.get(name)?.ms ?? Infinity),
      longestTaskMs: Math.max(longestTaskMs, more.longestTaskMs ?? 0),
      mostBitmapBytes: Math.max(mostBitmapBytes, more.mostBitmapBytes ?? 0),
    });
  };
  const decoding = [1, 2, 3, 4, 6, 8].map((atOnce) => [`decoding alone, ${atOnce} at once`, atOnce]);
  await page.evaluate((wanted) => {
    if (wanted) globalThis.bench.stub();
    globalThis.bench.countBitmaps();
  }, stub);
  for (let run = 0; run < runs; run++) {
    for (const [name, atOnce] of decoding)
      note(name, await page.evaluate((many) => globalThis.bench.decode(many), atOnce));
    for (const where of values.where.split(',')) {
      for (const thumbnailPx of values.thumbnails.split(',').map(Number)) {
        const setting = {
          where,
          model: values.model,
          stub,
          thumbnailPx,
          batchSize: values.batch && Number(values.batch),
        };
        const measured = await page.evaluate((given) => globalThis.bench.measure(given), setting);
        note(`ingest, model in the ${where}, ${thumbnailPx ? '' : 'no '}thumbnails`, measured.ms, measured);
      }
    }
  }
  const bound = Math.min(...decoding.map(([name]) => best.get(name).ms));
  console.log(
    `\n${count} photographs of 4032 × 3024, ${(bytes / 1e6).toFixed(1)} MB each; ${values.model}; ${stub ? 'large work of the GPU stubbed' : 'nothing stubbed'}\n`,
  );
  console.log(
    '| | s | photographs a second | of the bound | longest task of the page, ms | bitmaps at once, MB |',
  );
  console.log('|---|---|---|---|---|---|');
  for (const [name, { ms, longestTaskMs, mostBitmapBytes }] of best)
    console.log(
      `| ${name} | ${(ms / 1000).toFixed(2)} | ${((1000 * count) / ms).toFixed(1)} | ${((100 * bound) / ms).toFixed(0)} % | ${longestTaskMs || '< 50'} | ${mostBitmapBytes ? (mostBitmapBytes / 1e6).toFixed(0) : ''} |`,
    );
} finally {
  await close();
}
