// Measures how fast a folder of 12-megapixel photographs is indexed. For comparison, the same files are also
// only decoded, with the fastest number of simultaneous decodes. That time ("the bound") is a lower bound
// for indexing.
//
//   node bench/ingest.mjs [--gpu swiftshader | any] [--count 24] [--model tiny | small] [--where page,worker]
//   [--thumbnails 0,256] [--batch 8] [--runs 3] [--photo FILE.jpg] [--no-stub]
//
// The GPU work on whole photographs is stubbed, unless --no-stub is given: on a software adapter, this work
// takes longer than all other steps. The fastest of the runs is printed. CPU time is the sum over all
// processes of the browser. On a busy machine, CPU time is more reliable than wall time.
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
  const session = await page.context().browser().newBrowserCDPSession();
  /** Returns the CPU time that all processes of the browser have used since they started. */
  const processorMs = async () => {
    const { processInfo } = await session.send('SystemInfo.getProcessInfo');
    return 1000 * processInfo.reduce((sum, { cpuTime }) => sum + cpuTime, 0);
  };
  const best = new Map();
  const note = (name, ms, cpuMs, more = {}) => {
    const { longestTaskMs = 0, mostBitmapBytes = 0 } = best.get(name) ?? {};
    best.set(name, {
      ms: Math.min(ms, best.get(name)?.ms ?? Infinity),
      cpuMs: Math.min(cpuMs, best.get(name)?.cpuMs ?? Infinity),
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
    for (const [name, atOnce] of decoding) {
      const before = await processorMs();
      const ms = await page.evaluate((many) => globalThis.bench.decode(many), atOnce);
      note(name, ms, (await processorMs()) - before);
    }
    for (const where of values.where.split(',')) {
      for (const thumbnailPx of values.thumbnails.split(',').map(Number)) {
        const setting = {
          where,
          model: values.model,
          stub,
          thumbnailPx,
          batchSize: values.batch && Number(values.batch),
        };
        await page.evaluate((given) => globalThis.bench.warm(given), setting);
        const before = await processorMs();
        const measured = await page.evaluate((given) => globalThis.bench.measure(given), setting);
        const cpuMs = (await processorMs()) - before;
        const name = `ingest, model in the ${where}, ${thumbnailPx ? '' : 'no '}thumbnails`;
        note(name, measured.ms, cpuMs, measured);
      }
    }
  }
  const bound = Math.min(...decoding.map(([name]) => best.get(name).ms));
  const cpuBound = Math.min(...decoding.map(([name]) => best.get(name).cpuMs));
  console.log(
    `\n${count} photographs of 4032 × 3024, ${(bytes / 1e6).toFixed(1)} MB each; ${values.model}; ${stub ? 'large GPU work stubbed' : 'nothing stubbed'}\n`,
  );
  console.log(
    '| | s | photographs per second | of the bound | CPU time per photograph, ms | of the bound | longest task of the page, ms | open bitmaps, MB |',
  );
  console.log('|---|---|---|---|---|---|---|---|');
  for (const [name, { ms, cpuMs, longestTaskMs, mostBitmapBytes }] of best)
    console.log(
      `| ${name} | ${(ms / 1000).toFixed(2)} | ${((1000 * count) / ms).toFixed(1)} | ${((100 * bound) / ms).toFixed(0)} % | ${(cpuMs / count).toFixed(0)} | ${((100 * cpuBound) / cpuMs).toFixed(0)} % | ${longestTaskMs || '< 50'} | ${mostBitmapBytes ? (mostBitmapBytes / 1e6).toFixed(0) : ''} |`,
    );
} finally {
  await close();
}
