// Weights on another origin than the page, in Chromium. The server sends the headers of the nginx line in
// weights/README.md.
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Page } from 'playwright';
import { load, openVisit, removeCached, type Visit } from './browser.ts';
import { answer, plainFiles, shardsOf, weightsFile } from './server.ts';

interface Header {
  readonly name: string;
  readonly value: string;
  /** True for nginx's `always`: without it, nginx omits the header from 404 and 416 responses. */
  readonly always: boolean;
}

const line = /nginx: `(.*)`/.exec(
  readFileSync(new URL('../../weights/README.md', import.meta.url), 'utf8'),
)![1]!;
const advised: Header[] = [...line.matchAll(/add_header ([\w-]+) (?:"([^"]*)"|([^ ;]+))( always)?;/g)].map(
  ([, name, quoted, bare, always]) => ({
    name: name!,
    value: (quoted ?? bare)!,
    always: always !== undefined,
  }),
);

let visitor: Visit;
let page: Page;
let host: Server;
let files: Map<string, Uint8Array>;
let headers: readonly Header[];
let tells: () => Record<string, string>;
let asked: string[];
/** How long the server waits before it answers a request for weights, in milliseconds. */
let delayMs: number;
let underWay: number;
let mostUnderWay: number;
let right: number;
beforeAll(async () => {
  visitor = await openVisit('shared');
  ({ page } = visitor);
  right = (await load(page, { cache: 'none' })).hash;
  host = createServer((request: IncomingMessage, response) => {
    const name = request.url!.replace(/^\/\d+\//, '');
    const bytes = files.get(name);
    asked.push(`${request.method} ${name} ${request.headers.range ?? 'whole'}`);
    for (const { name: header, value, always } of headers)
      if (bytes || always) response.setHeader(header, value);
    if (request.method !== 'GET') return void response.writeHead(405).end();
    if (!bytes) return void response.writeHead(404).end('not found');
    const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const range = match
      ? ([Number(match[1]), Math.min(match[2] ? Number(match[2]) + 1 : Infinity, bytes.length)] as const)
      : undefined;
    const reply = (): void => answer({ name, bytes, count: 0, range, request, response }, tells());
    if (delayMs === 0 || name !== 'model.safetensors') return reply();
    mostUnderWay = Math.max(mostUnderWay, ++underWay);
    setTimeout(() => {
      underWay--;
      reply();
    }, delayMs);
  });
  await new Promise<void>((resolve) => host.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  await visitor.close();
  host.closeAllConnections();
  await new Promise((resolve) => host.close(resolve));
});
beforeEach(async () => {
  await removeCached(page);
  [files, headers, tells, asked] = [plainFiles(), advised, () => ({}), []];
  [delayMs, underWay, mostUnderWay] = [0, 0, 0];
});

/**
 * A new folder for each load, because the browser keeps immutable responses. Another port makes the host
 * another origin.
 */
let folder = 0;
const fromHost = (options: Record<string, unknown> = {}): ReturnType<typeof load> =>
  page.evaluate(
    async ([id, given]) => {
      const { DINOv2 } = (globalThis as unknown as { library: typeof import('../../src/index.ts') }).library;
      const model = await DINOv2.fromPretrained(id, {
        selfTest: false,
        retry: { attempts: 2, delayMs: 10 },
        cache: 'none',
        ...given,
      });
      const features = await model.forward(
        Float32Array.from({ length: 3 * 28 * 28 }, (_, i) => Math.sin(i)),
        { height: 28, width: 28 },
      );
      const words = new Uint32Array((await features.lastHiddenState()).buffer);
      features.dispose();
      const fingerprint = await model.fingerprint();
      model.dispose();
      return {
        hash: [...words, ...new TextEncoder().encode(fingerprint)].reduce(
          (sum, word) => (Math.imul(sum, 31) + word) >>> 0,
          7,
        ),
        fingerprint,
        loaded: model.loaded,
      };
    },
    [`http://127.0.0.1:${(host.address() as AddressInfo).port}/${folder++}/`, options] as const,
  );

const ofWeights = (): string[] => asked.filter((each) => each.includes(' model.safetensors '));

test('with the recommended headers: parallel parts, no preflight', async () => {
  expect(advised.map(({ name }) => name)).toEqual([
    'Access-Control-Allow-Origin',
    'Access-Control-Expose-Headers',
    'Cache-Control',
  ]);
  const failed: string[] = [];
  page.on('requestfailed', (request) => void failed.push(request.url()));
  delayMs = 200;
  // The library stores the file, so the browser's HTTP cache is not used: Chromium sends only one request at a
  // time for a file in that cache.
  const { hash, loaded } = await fromHost({ cache: 'auto' });
  expect({ hash, ...loaded }).toMatchObject({ hash: right, cache: 'opfs', fetchedBytes: weightsFile.length });
  expect(mostUnderWay).toBe(3);
  // The first part is requested alone, then three in parallel, which may arrive in any order.
  const ranges = ['0-524287', '524288-1048575', '1048576-1572863', '1572864-1909559'].map(
    (range) => `GET model.safetensors bytes=${range}`,
  );
  expect(ofWeights()[0]).toBe(ranges[0]);
  expect(ofWeights().sort()).toEqual(ranges.sort());
  expect(failed.filter((url) => url.endsWith('.safetensors'))).toEqual([]); // no request is aborted at its end
});

test('with the recommended headers and several files: the 404 of model.safetensors is readable', async () => {
  files = new Map([...plainFiles(), ...shardsOf(3)]);
  files.delete('model.safetensors');
  expect((await fromHost()).hash).toBe(right);
});

test('loads without exposed headers', async () => {
  headers = [
    ...advised.filter(({ name }) => name === 'Access-Control-Allow-Origin'),
    { name: 'Cache-Control', value: 'no-store', always: true },
  ]; // no-store, or Chromium's HTTP cache would complete a partial response
  expect((await fromHost()).hash).toBe(right); // neither ETag nor date: the whole file in one response
  expect(ofWeights()).toEqual(['GET model.safetensors bytes=0-524287', 'GET model.safetensors whole']);
  asked = [];
  tells = () => ({ 'last-modified': 'Wed, 01 Jan 2025 00:00:00 GMT' });
  expect((await fromHost()).hash).toBe(right); // the date is visible, the length is not
  expect(ofWeights()).toEqual([
    'GET model.safetensors bytes=0-524287',
    'GET model.safetensors bytes=524288-',
  ]);
});

test('mixed versions are detected without If-Range, which would need a preflight; the whole file then loads in one response', async () => {
  headers = advised.map((header) =>
    header.name === 'Cache-Control' ? { ...header, value: 'no-store' } : header,
  );
  tells = () => ({ etag: `"${asked.length}"` });
  expect((await fromHost()).hash).toBe(right);
  expect(ofWeights().length).toBeGreaterThan(4);
  expect(ofWeights()).toContain('GET model.safetensors whole'); // late parts of the first attempt may follow this request
});

test('without CORS headers the error says so', async () => {
  headers = [];
  await expect(fromHost()).rejects.toThrow(/does not allow other pages to read the file \(CORS\)/);
});
