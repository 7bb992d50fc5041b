// Writes test/fixtures/continuity: the data that the build of an earlier commit stores in Chromium. The tests
// in test/continuity check that today's code opens this data or replaces it.
//
//   git worktree add ../old 85ff786 && (cd ../old && npm ci && npm run build)
//   node scripts/make-fixtures/make_continuity.mjs ../old/dist
//
// Do not write the fixtures again with a newer build, because they would then no longer test old data. A
// later storage format gets a new folder.
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { chromium } from 'playwright';
import { chromiumArgs, chromiumPath } from '../software-gpu.mjs';
import * as page from './continuity_page.mjs';

const [build] = process.argv.slice(2);
if (build === undefined) {
  console.error('make_continuity: pass the folder dist/ of a build of the earlier commit as argument.');
  process.exit(1);
}
const dist = resolve(build);
const fixtures = fileURLToPath(new URL('../../test/fixtures', import.meta.url));
const out = join(fixtures, 'continuity');
const { parseSafetensors } = await import(pathToFileURL(join(dist, 'safetensors.js')).href);
const checkpoint = sparse();

mkdirSync(out, { recursive: true });
const save = (name, data) => {
  writeFileSync(join(out, name), data);
  console.log(`${name}: ${data.length} bytes`);
};
const zipped = (data) => gzipSync(data, { level: 9 });
const json = (value) => Buffer.from(`${JSON.stringify(value)}\n`);

/**
 * A checkpoint with the shapes of tiny-plain that compresses to a few kilobytes: of the values of a matrix,
 * all but every 251st are zero, and the lower 16 bits of every value are zero. The checkpoint is larger than
 * a megabyte, so that an interrupted download stores a segment.
 */
function sparse() {
  const file = readFileSync(join(fixtures, 'reference/tiny-plain/model.safetensors'));
  for (const [name, { shape, begin, end }] of parseSafetensors(file).tensors) {
    const matrix = name.endsWith('weight') && shape.length > 1;
    for (let at = begin; at < end; at += 4) {
      const kept = matrix && ((at - begin) / 4) % 251 !== 0 ? 0 : file.readUInt32LE(at) & 0xffff0000;
      file.writeUInt32LE(kept >>> 0, at);
    }
  }
  return file;
}

const weights = new Map([
  ['config.json', readFileSync(join(fixtures, 'reference/tiny-plain/config.json'))],
  ['model.safetensors', checkpoint],
]);
/** The server stops sending model.safetensors at this byte. */
let limit = Infinity;

/** Serves the earlier build at /dist/, the fixtures at /fixtures/ and the checkpoint at /weights/. */
const server = createServer((request, response) => {
  const [, folder, path] = /^\/(dist|fixtures|weights)\/(.*)$/.exec(request.url) ?? [];
  if (!folder)
    return response
      .writeHead(200, { 'content-type': 'text/html' })
      .end('<!doctype html><title>continuity</title>');
  if (folder !== 'weights') {
    const type = path.endsWith('.js') ? 'text/javascript' : 'application/octet-stream';
    return response
      .writeHead(200, { 'content-type': type })
      .end(readFileSync(join(folder === 'dist' ? dist : fixtures, path)));
  }
  const bytes = weights.get(path);
  if (!bytes) return response.writeHead(404).end();
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const begin = Number(first ?? 0);
  const end = last ? Math.min(Number(last) + 1, bytes.length) : bytes.length;
  const range = first === undefined ? {} : { 'content-range': `bytes ${begin}-${end - 1}/${bytes.length}` };
  response.writeHead(first === undefined ? 200 : 206, {
    'accept-ranges': 'bytes',
    'cache-control': 'no-store',
    etag: '"one"',
    'content-length': end - begin,
    ...range,
  });
  const body = bytes.subarray(begin, Math.min(end, Math.max(begin, limit)));
  if (body.length === end - begin) response.end(body);
  else response.write(body);
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));

// The stored data contains the address, so every run uses the same host name, which Chromium maps to the server.
const profile = mkdtempSync(join(tmpdir(), 'continuity-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: await chromiumPath(),
  args: [
    ...chromiumArgs,
    `--host-resolver-rules=MAP continuity.localhost:80 127.0.0.1:${server.address().port}`,
  ],
});
try {
  const tab = context.pages()[0] ?? (await context.newPage());
  await tab.goto('http://continuity.localhost/');
  await tab.evaluate(page.importLibrary);

  save('model.safetensors.gz', zipped(weights.get('model.safetensors')));
  const { store: complete, fingerprint } = await tab.evaluate(page.loadAndKeep, 'opfs');
  const { store: responses } = await tab.evaluate(page.loadAndKeep, 'cache-api');
  if (JSON.stringify(complete) !== JSON.stringify(responses))
    throw new Error('The two stores hold different bytes for the same checkpoint: record both.');
  limit = 1_600_000;
  const interrupted = await tab.evaluate(page.interruptAndKeep);
  limit = Infinity;
  for (const [name, entry] of Object.entries({ complete, interrupted }))
    save(`cache.${name}.gz`, zipped(packed(entry)));

  const models = await tab.evaluate(page.fingerprints);
  save('models.json', json({ ...models, continuity: fingerprint }));
  save('pca.json', json(await tab.evaluate(page.fitPca)));

  const indexes = await tab.evaluate(page.makeIndexes);
  for (const [name, { exported, ...kept }] of Object.entries(indexes)) {
    save(`index.${name}.json`, json(kept));
    save(`collection.${name}.safetensors`, Buffer.from(exported, 'base64'));
  }
  const sums = [...weights].map(([name, bytes]) => [name, createHash('sha256').update(bytes).digest('hex')]);
  console.log(`The checkpoint: ${JSON.stringify(Object.fromEntries(sums))}`);
} finally {
  await context.close();
  server.closeAllConnections();
  server.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
}

/**
 * Packs a cache entry in one file: a line of JSON, [folder, [name, length][]], then the contents of the
 * files.
 */
function packed({ key, files }) {
  const contents = files.map(([, base64]) => Buffer.from(base64, 'base64'));
  const list = files.map(([name], i) => [name, contents[i].length]);
  return Buffer.concat([json([key, list]), ...contents]);
}
