// Compares exact search on the GPU with a kernel that only reads the same bytes, a plain JavaScript loop, and
// hnswlib in WASM.
//
//   npm run bench:search -- [--adapter any | swiftshader | FILE] [--count 100000] [--dim 384] [--storage f16]
//                           [--k 10] [--runs 7] [--hnsw 20000]
//
// --adapter: the Vulkan driver (bench/README.md). --hnsw: number of vectors for hnswlib, which builds its
// index slowly; 0 leaves hnswlib out. Install hnswlib with npm ci --ignore-scripts in bench/peers/search.
//
// Prints Markdown. The searches take turns. The fastest run is printed, separately for wall time and for CPU
// time, which includes the driver's threads. All searches must find the same items, or no time is printed.
import { parseArgs } from 'node:util';
import { installWebGpu } from './adapter.mjs';
import { source } from './load-source.mjs';
import { READERS, readSetup } from './search-read.mjs';

const { values } = parseArgs({
  options: {
    adapter: { type: 'string', default: 'any' },
    count: { type: 'string', default: '100000' },
    dim: { type: 'string', default: '384' },
    storage: { type: 'string', default: 'f16' },
    k: { type: 'string', default: '10' },
    runs: { type: 'string', default: '7' },
    hnsw: { type: 'string', default: '20000' },
  },
});
const [count, dim, k, runs, hnswCount] = [values.count, values.dim, values.k, values.runs, values.hnsw].map(
  Number,
);
const news = (text) => process.stderr.write(`${text}\n`);

await installWebGpu(values.adapter);
const adapter = await navigator.gpu.requestAdapter();
const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
const device = await adapter.requestDevice({
  requiredLimits: { maxStorageBufferBindingSize, maxBufferSize },
});
const { EmbeddingIndex } = await source('src/search.ts');

// Like embeddings of photographs, the vectors form clusters: a thousand directions with noise.
let state = 1;
const random = () => {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};
const centers = Array.from({ length: 1000 }, () => Float32Array.from({ length: dim }, () => random() - 0.5));
const photo = () =>
  centers[Math.floor(random() * centers.length)].map((value) => value + 0.8 * (random() - 0.5));
news(`${count} vectors of ${dim} …`);
const vectors = Array.from({ length: count }, photo);
const queries = Array.from({ length: 4 }, photo);
const options = { dim, storage: values.storage };
const onGpu = new EmbeddingIndex({ ...options, device });
const onCpu = new EmbeddingIndex({ ...options, device: 'cpu' });
const items = vectors.map((vector, i) => ({ id: `${i}`, vector }));
for (const index of [onGpu, onCpu]) await index.addMany(items);

// The plain loop: dot products with float32 vectors of length 1, then a sort of all scores.
const flat = new Float32Array(count * dim);
for (let row = 0; row < count; row++) {
  const norm = Math.hypot(...vectors[row]);
  for (let i = 0; i < dim; i++) flat[row * dim + i] = vectors[row][i] / norm;
}
const unit = (query) => query.map((value) => value / Math.hypot(...query));
const plainLoop = (query, rows = count) => {
  const scores = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    let sum = 0;
    for (let i = 0, at = row * dim; i < dim; i++, at++) sum += query[i] * flat[at];
    scores[row] = sum;
  }
  return Array.from(scores.keys())
    .sort((a, b) => scores[b] - scores[a])
    .slice(0, k)
    .map(String);
};

const readers = await readSetup(
  device,
  Math.ceil((count * dim * { f32: 4, f16: 2, int8: 1 }[values.storage]) / 4),
);
const query = unit(queries[0]);
const ids = (hits) => hits.map(({ id }) => id);
const exact = ids(await onCpu.search(query, { topK: k }));
if (ids(await onGpu.search(query, { topK: k })).join() !== exact.join())
  throw new Error('GPU and CPU found different items, so no time is printed.');
if (onGpu.backend.kind !== 'gpu') throw new Error(`the search is not on the GPU: ${onGpu.backend.reason}`);
const near = plainLoop(query).filter((id) => exact.includes(id)).length;
// The plain loop's vectors are not rounded to the index's storage type, so a few of the items that it finds
// may differ.
if (near < 0.8 * k) throw new Error(`the plain loop found ${near} of ${k} items, so no time is printed.`);

const contenders = new Map([
  ...READERS.map(({ name }, i) => [`only reading: ${name}`, () => readers(i)]),
  ['EmbeddingIndex, GPU', () => onGpu.search(query, { topK: k })],
  ['EmbeddingIndex, GPU, 4 queries in one call', () => onGpu.search(queries, { topK: k })],
  ['EmbeddingIndex, CPU (exact in float64)', () => onCpu.search(query, { topK: k })],
  ['plain JavaScript loop (float32)', () => plainLoop(query)],
]);
const fastest = new Map();
for (let run = 0; run < runs + 1; run++) {
  news(`run ${run} of ${runs}`);
  for (const [name, contender] of contenders) {
    const before = process.cpuUsage();
    const begin = performance.now();
    await contender();
    const wall = performance.now() - begin;
    const { user, system } = process.cpuUsage(before);
    if (run === 0) continue; // a warm-up
    const best = fastest.get(name) ?? { wall: Infinity, cpu: Infinity };
    fastest.set(name, { wall: Math.min(best.wall, wall), cpu: Math.min(best.cpu, (user + system) / 1000) });
  }
}
const reading = [...fastest].filter(([name]) => name.startsWith('only reading'));
const read = {
  wall: Math.min(...reading.map(([, { wall }]) => wall)),
  cpu: Math.min(...reading.map(([, { cpu }]) => cpu)),
};
console.log(
  `\n${count} × ${dim} ${values.storage}, k = ${k}, ${adapter.info.description || adapter.info.vendor}, Node ${process.versions.node}:\n`,
);
console.log('| | wall ms | CPU ms | times the fastest reading: wall, CPU |\n|---|---|---|---|');
for (const [name, { wall, cpu }] of fastest)
  console.log(
    `| ${name} | ${wall.toFixed(1)} | ${cpu.toFixed(1)} | ${(wall / read.wall).toFixed(2)}, ${(cpu / read.cpu).toFixed(2)} |`,
  );

if (hnswCount > 0) {
  // The package hnswlib-wasm is made for pages and needs these globals.
  Object.assign(globalThis, {
    window: globalThis,
    document: { currentScript: null },
    location: { href: 'http://localhost/' },
  });
  console.log = (
    (log) =>
    (...given) =>
      given.length === 1 && Array.isArray(given[0]) ? undefined : log(...given)
  )(console.log); // hides the list of exports that the package prints
  const { loadHnswlib } = await import(
    new URL('peers/search/node_modules/hnswlib-wasm/dist/hnswlib.js', import.meta.url).href
  );
  const { HierarchicalNSW } = await loadHnswlib();
  const some = new EmbeddingIndex({ ...options, device });
  const begin = performance.now();
  await some.addMany(items.slice(0, hnswCount));
  await some.search(query, { topK: k });
  const ourBuild = performance.now() - begin;
  const hnsw = new HierarchicalNSW('cosine', dim, '');
  hnsw.initIndex(hnswCount, 16, 200, 100);
  const built = performance.now();
  for (let row = 0; row < hnswCount; row++) {
    hnsw.addPoint(vectors[row], row, false);
    if (row % 2000 === 0) news(`hnswlib: ${row} of ${hnswCount}`);
  }
  const theirBuild = performance.now() - built;
  const asked = Array.from({ length: 100 }, photo);
  const truth = [];
  const ours = performance.now();
  for (const each of asked) truth.push(ids(await some.search(each, { topK: k })));
  const ourQuery = (performance.now() - ours) / asked.length;
  console.log(
    `\n${hnswCount} vectors, 100 queries:\n\n| | build s | query ms | recall@${k} |\n|---|---|---|---|`,
  );
  console.log(
    `| EmbeddingIndex, GPU | ${(ourBuild / 1000).toFixed(2)} | ${ourQuery.toFixed(2)} | 1 (exact) |`,
  );
  for (const ef of [16, 50, 200]) {
    hnsw.setEfSearch(ef);
    const started = performance.now();
    const found = asked.map((each) => hnsw.searchKnn(each, k, undefined).neighbors.map(String));
    const query = (performance.now() - started) / asked.length;
    const recall =
      found.reduce((sum, list, i) => sum + list.filter((id) => truth[i].includes(id)).length, 0) /
      (k * asked.length);
    console.log(
      `| hnswlib-wasm 0.8.2 (M 16, efConstruction 200, efSearch ${ef}) | ${(theirBuild / 1000).toFixed(2)} | ${query.toFixed(2)} | ${recall.toFixed(3)} |`,
    );
  }
}
process.exit(0);
