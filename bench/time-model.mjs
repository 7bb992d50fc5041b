// A model of the time of a forward pass of one image on three classes of GPUs, ours and onnxruntime-web's, from what
// compilers make of the kernels, and from every dispatch's multiply-adds, bytes and lanes. No GPU is measured.
//
//   node bench/time-model.mjs [--models small,large] [--px 224,518] [--dtypes fp32,fp16] [--waves 2] [--launch-us N]
//                             [--tile default | small] [--linear 1] [--details] FOLDER
//
// FOLDER is the one that bench/peers/kernel-table.mjs filled. A dispatch takes the longest of three times, and the launch:
//   arithmetic: FLOPs, with the rows that pad tiles / (rate of the class · share of multiply-adds in the loop · fill)
//   workgroup memory: bytes read in the loop / (bytes for each clock and lane · lanes · fill)
//   memory: weights at the speed of memory; activations at that of the cache if the dispatch's fit into it
// `fill` is the share of the GPU that the dispatch's lanes keep busy: a GPU needs --waves times as many lanes as it has.
// All time that the CPU takes is left out. --tile small: the linear layers that use the narrow tile use the small one.
// --linear 0.3: what if the arithmetic of our linear layers took that share of its time.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { blockOf, bytesOf, programOf } from './peers/captures.mjs';
import { dispatchesOf } from './peers/our-block.mjs';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    models: { type: 'string', default: 'small,large' },
    px: { type: 'string', default: '224,518' },
    dtypes: { type: 'string', default: 'fp32,fp16' },
    waves: { type: 'string', default: '2' },
    'launch-us': { type: 'string' },
    tile: { type: 'string', default: 'default' },
    linear: { type: 'string', default: '1' },
    details: { type: 'boolean', default: false },
  },
});
const [folder] = positionals;

/**
 * The classes. `family`: whose compiler gives the shares; `gpu`: which capture. `f16Rate`: rate of f16 in units of f32.
 * `perClock`: f32 multiply-adds of a lane in a clock (RDNA 3 issues pairs). `ldsBytes`: bytes of workgroup memory for
 * each lane and clock. `f16Ours`: time of our linear layers with f16 arithmetic, relative to f32 (bench/RESULTS.md,
 * f16 arithmetic, all loops), on the GPUs that use it by default.
 */
const CLASSES = {
  integrated: {
    family: 'tgl',
    gpu: 'intel',
    vendor: 'intel',
    teraflops: 2,
    gigahertz: 1.3,
    perClock: 1,
    f16Rate: 2,
    ldsBytes: 1,
    memory: 68e9,
    cache: 200e9,
    cacheBytes: 4e6,
    launch: 5e-6,
  },
  laptop: {
    family: 'navi21',
    gpu: 'amd',
    vendor: 'amd',
    teraflops: 10,
    gigahertz: 2.4,
    perClock: 1,
    f16Rate: 2,
    ldsBytes: 2,
    memory: 256e9,
    cache: 800e9,
    cacheBytes: 32e6,
    launch: 4e-6,
    f16Ours: { linear: 0.65, linear_narrow: 0.73 },
  },
  desktop: {
    family: 'navi31',
    gpu: 'amd',
    vendor: 'amd',
    teraflops: 40,
    gigahertz: 2.2,
    perClock: 2,
    f16Rate: 1,
    ldsBytes: 2,
    memory: 600e9,
    cache: 2000e9,
    cacheBytes: 64e6,
    launch: 4e-6,
  },
};
/** Bytes of a read of four f32 from workgroup memory. A read of four f16 has half of them, for two products in one. */
const READ_BYTES = 16;
/** Rows of the output that a workgroup of our kernels computes. */
const TILE_ROWS = { linear: 64, linear_narrow: 32, linear_small: 32, attention: 32, patch_embed: 16 };

/** Our linear layers compute a remainder of so many rows without a tile. */
const TAIL_ROWS = 8;

const machineCode = JSON.parse(readFileSync(join(folder, 'machine-code.json'), 'utf8'));
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

/** The seconds of one dispatch. */
function secondsOf(
  gpu,
  { flops, weightBytes, activationBytes, lanes, share, perRead, rate = 1, products = 1 },
) {
  const { teraflops, gigahertz, perClock, ldsBytes, memory, cache, cacheBytes } = gpu;
  const launch = options['launch-us'] === undefined ? gpu.launch : Number(options['launch-us']) * 1e-6;
  const width = (teraflops * 1e12) / (2 * perClock * gigahertz * 1e9);
  const fill = Math.min(1, lanes / (Number(options.waves) * width));
  const arithmetic = flops === 0 ? 0 : flops / (teraflops * 1e12 * rate * share * fill);
  const read = perRead ? ((flops / 2 / products / perRead) * READ_BYTES) / products : 0;
  const shared = read / (ldsBytes * gigahertz * 1e9 * width * fill);
  const bytes = weightBytes / memory + activationBytes / (activationBytes <= cacheBytes ? cache : memory);
  const parts = { arithmetic, shared, bytes };
  const bound = Object.keys(parts).reduce((a, b) => (parts[b] > parts[a] ? b : a));
  return { seconds: parts[bound] + launch, bound, launch };
}

/** What compilers make of our kernel: mean of the forms. */
function ourCode(gpu, kernel) {
  const name = kernel === 'patch_embed' ? 'linear' : kernel === 'linear_small' ? 'linear_narrow' : kernel;
  const ending = { linear: ' f32 64 columns', attention: '  32 queries', linear_narrow: ' f32' }[name];
  const rows = machineCode.ours.filter(
    ({ label, family }) => family === gpu.family && label.startsWith(`${name}.`) && label.includes(ending),
  );
  const reads = machineCode.ours.filter(
    ({ label, family, perRead }) => perRead && family === 'navi21' && label.startsWith(`${name}.`),
  );
  return { share: mean(rows.map(({ share }) => share)), perRead: mean(reads.map(({ perRead }) => perRead)) };
}

function ours(gpu, model, px, dtype) {
  return dispatchesOf(model, px, dtype, gpu.vendor).map((dispatch) => {
    const { kernel, flops, weightBytes, activationBytes, lanes, rows } = dispatch;
    if (flops === 0)
      return { ...dispatch, ...secondsOf(gpu, { flops, weightBytes, activationBytes, lanes }) };
    const small = kernel === 'linear_narrow' && options.tile === 'small';
    const tile = TILE_ROWS[kernel];
    const rest = rows % tile;
    const tail = kernel.startsWith('linear') && rest > 0 && rest <= TAIL_ROWS;
    const last = tail ? TAIL_ROWS : rest > 0 ? tile : 0;
    const padded = (flops * (rows - rest + last)) / rows;
    const faster = dtype === 'fp16' ? (gpu.f16Ours?.[kernel] ?? 1) : 1;
    const what = kernel.startsWith('linear') ? Number(options.linear) : 1;
    const work = {
      flops: padded * faster * what,
      weightBytes,
      activationBytes,
      lanes: lanes * (small ? 2 : 1),
    };
    return { ...dispatch, ...secondsOf(gpu, { ...work, ...ourCode(gpu, kernel) }) };
  });
}

/**
 * What compilers make of a program of the peer. A program whose loop is unrolled has the share of its f32 form. The reads
 * of workgroup memory are those of the same program on RDNA 2; the programs for subgroups hardly read it.
 */
function theirCode(gpu, kind, hash) {
  const rows = (family) => machineCode[`${hash} ${family}`]?.[0];
  const share = rows(gpu.family)?.share || UNROLLED_SHARES[`${kind}, ${gpu.family}`];
  return { share, perRead: rows('navi21')?.perRead };
}
/** Shares of the f32 form of programs that are unrolled in f16. */
const UNROLLED_SHARES = { 'MatMul of attention, navi21': 0.55, 'MatMul of attention, navi31': 0.52 };

function theirs(gpu, name) {
  const file = join(folder, `${name}.${gpu.gpu}.json`);
  if (!existsSync(file)) return undefined;
  const { dispatches, shape, error } = JSON.parse(readFileSync(file, 'utf8'));
  if (error) return undefined;
  const tokens = shape[1];
  const timed = dispatches.map((dispatch) => {
    const { kind, type, lanes: side } = programOf(folder, dispatch.hash);
    const lanes = side * dispatch.workgroups.reduce((a, b) => a * b);
    const storage = dispatch.bindings.filter(({ uniform }) => !uniform).map(({ bytes }) => bytes);
    const element = type === 'f16' ? 2 : 4;
    let flops = 0;
    let rows = tokens;
    if (kind === 'MultiHeadAttention') flops = (4 * tokens * storage[0]) / element;
    else if (kind !== 'other') {
      const heads = kind.startsWith('MatMul') ? dispatch.workgroups[2] : 1;
      const product = (storage[0] * storage[1] * storage.at(-1)) / element ** 3;
      flops = 2 * Math.sqrt(product / heads);
      if (kind === 'Conv') rows = tokens - 1;
    }
    const tiles = kind === 'MultiHeadAttention' ? Math.ceil(tokens / side) : dispatch.workgroups[1];
    const tile = 2 ** Math.ceil(Math.log2(rows / tiles));
    const padded = kind === 'other' ? 0 : (flops * tiles * tile) / rows;
    const weightBytes = /^(Gemm|Conv)/.test(kind) ? storage[1] : 0;
    const work = { flops: padded, weightBytes, activationBytes: bytesOf(dispatch) - weightBytes, lanes };
    const code = kind === 'other' ? {} : theirCode(gpu, kind, dispatch.hash);
    const half = type === 'f16' ? { rate: gpu.f16Rate, products: 2 } : {};
    return { ...dispatch, kind, type, flops, ...secondsOf(gpu, { ...work, ...code, ...half }) };
  });
  const block = blockOf(timed);
  return { timed, block };
}

const sum = (rows) => rows.reduce((total, { seconds }) => total + seconds, 0);
const ms = (seconds) => (1000 * seconds).toFixed(seconds < 0.01 ? 2 : 1);
const DEPTH = { small: 12, base: 12, large: 24 };
const list = (text) => text.split(',');

console.log(
  '| class | model, size, type | ours | `plain` | `fused` | ratio | ours: arithmetic, launches | the faster of theirs: products, rest, launches |\n|---|---|---|---|---|---|---|---|',
);
for (const [label, gpu] of Object.entries(CLASSES))
  for (const model of list(options.models))
    for (const px of list(options.px).map(Number))
      for (const dtype of list(options.dtypes)) {
        const our = ours(gpu, model, px, dtype);
        const forms = ['plain', 'fused'].map((form) => {
          const their = theirs(gpu, `dinov2-${model}-${px}-${dtype}-${form}-2`);
          if (!their?.block) return undefined;
          const { timed, block } = their;
          const rest = sum(timed) - 2 * sum(block);
          return { seconds: rest + DEPTH[model] * sum(block), block };
        });
        const known = forms.filter(Boolean);
        const fastest = known.reduce((a, b) => (b.seconds < a.seconds ? b : a));
        const launches = our.reduce((total, { launch }) => total + launch, 0);
        const part = (rows, of = ({ seconds, launch }) => seconds - launch) =>
          ms(DEPTH[model] * rows.reduce((total, row) => total + of(row), 0));
        const products = fastest.block.filter(({ kind }) => kind !== 'other');
        const others = fastest.block.filter(({ kind }) => kind === 'other');
        const cells = [label, `${model}, ${px}, ${dtype}`, ms(sum(our))];
        cells.push(...forms.map((form) => (form ? ms(form.seconds) : 'not captured')));
        cells.push(`**${(fastest.seconds / sum(our)).toFixed(2)}**`);
        cells.push(`${ms(sum(our) - launches)}, ${ms(launches)}`);
        cells.push([part(products), part(others), part(fastest.block, ({ launch }) => launch)].join(', '));
        console.log(`| ${cells.join(' | ')} |`);
        if (!options.details) continue;
        for (const row of our.filter(({ label: node }) => node.startsWith('blocks.0')))
          console.log(
            `  ours ${row.label} ${row.kernel} ${row.lanes} lanes ${ms(row.seconds)} ms ${row.bound}`,
          );
        for (const row of fastest.block)
          console.log(`  theirs ${row.kind} ${row.workgroups} ${ms(row.seconds)} ms ${row.bound}`);
      }
process.exit(0);
