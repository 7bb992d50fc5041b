// Compares warm forward passes of this checkout with those of another checkout, in turn on one adapter in Node.
//
//   git worktree add --detach FOLDER COMMIT && ln -s "$PWD/node_modules" FOLDER/node_modules
//   node bench/commits.mjs --other FOLDER [--adapter any | swiftshader | DRIVER.json] [--model small] [--px 224]
//                          [--dtype fp32] [--runs 20]
//
// Each checkout has its own process, which waits while the other one runs. A round is one forward pass with
// readback of each, and the order alternates from round to round. CPU time depends least on other programs.
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Child, median } from './child.mjs';
import { root } from './load-source.mjs';

const { values: options } = parseArgs({
  options: {
    other: { type: 'string' },
    adapter: { type: 'string', default: process.env.TEST_ADAPTER ?? 'any' },
    model: { type: 'string', default: 'small' },
    px: { type: 'string', default: '224' },
    dtype: { type: 'string', default: 'fp32' },
    runs: { type: 'string', default: '20' },
  },
});
if (!options.other) throw new Error('--other: expected the folder of another checkout.');

const checkouts = [
  { label: 'other', folder: resolve(options.other) },
  { label: 'this', folder: root },
].map(({ label, folder }) => ({
  label,
  child: new Child(join(folder, 'bench/peers/ours.mjs')),
  wallMs: [],
  cpuMs: [],
}));
const { adapter, model: size, dtype } = options;
for (const checkout of checkouts) {
  Object.assign(
    checkout,
    await checkout.child.call('load', { adapter, size, px: Number(options.px), dtype }),
  );
  checkout.output = await checkout.child.call('output');
  await checkout.child.call('time', { runs: 2 }); // warm-up
}
const [other, ours] = checkouts;
const different = ours.output.filter((value, index) => !Object.is(value, other.output[index])).length;
for (let round = 0; round < Number(options.runs); round++) {
  for (const checkout of round % 2 ? [ours, other] : [other, ours]) {
    const { wallMs, cpuMs } = await checkout.child.call('time', { runs: 1 });
    checkout.wallMs.push(...wallMs);
    checkout.cpuMs.push(...cpuMs);
  }
}
for (const { child } of checkouts) child.end();

console.log(
  `${ours.adapter}: ${size} at ${options.px}, ${dtype}, ${options.runs} rounds; ${different} values differ\n`,
);
console.log(
  '| checkout | median ms | fastest ms | CPU ms, median | CPU ms, least | dispatches |\n|---|---|---|---|---|---|',
);
for (const { label, wallMs, cpuMs, dispatches } of checkouts) {
  const cells = [median(wallMs), Math.min(...wallMs), median(cpuMs), Math.min(...cpuMs)];
  console.log(`| ${label} | ${cells.map((ms) => ms.toFixed(0)).join(' | ')} | ${dispatches} |`);
}
const ratios = [median, (values) => Math.min(...values)].flatMap((of) => [
  of(ours.wallMs) / of(other.wallMs),
  of(ours.cpuMs) / of(other.cpuMs),
]);
const [wallMedian, cpuMedian, wallFastest, cpuLeast] = ratios.map((ratio) => ratio.toFixed(3));
console.log(`| this / other | ${wallMedian} | ${wallFastest} | ${cpuMedian} | ${cpuLeast} | |`);
process.exit(0);
