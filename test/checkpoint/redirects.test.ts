// A token that a page's own fetch sends to the hub does not reach the content delivery network that the hub redirects
// to, in any of the requests for a file.
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openUrl } from '../../src/io/http.ts';

const bytes = Uint8Array.from({ length: 3_000_000 }, (_, i) => i % 251);
const asked: Record<'hub' | 'network', IncomingMessage[]> = { hub: [], network: [] };

const network = createServer((request, response) => {
  asked.network.push(request);
  const [, begin, end] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? [];
  const part = bytes.subarray(Number(begin ?? 0), end === undefined ? bytes.length : Number(end) + 1);
  response.writeHead(206, {
    etag: '"one"',
    'content-length': part.length,
    'content-range': `bytes ${begin}-${end}/${bytes.length}`,
  });
  response.end(part);
});
const hub = createServer((request, response) => {
  asked.hub.push(request);
  response.writeHead(302, { location: `${addressOf(network)}/file?signature=1` }).end();
});
const addressOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

beforeAll(async () => {
  for (const server of [hub, network])
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => {
  for (const server of [hub, network]) {
    server.close();
    server.closeAllConnections();
  }
});

test('a token does not follow a redirect to another origin', async () => {
  const signedIn: typeof fetch = (url, init) =>
    fetch(url, {
      ...init,
      headers: { ...(init?.headers as Record<string, string>), authorization: 'Bearer secret' },
    });
  const { chunks } = await openUrl(new URL(`${addressOf(hub)}/file`), { fetch: signedIn });
  let length = 0;
  for await (const chunk of chunks) length += chunk.length;
  expect(length).toBe(bytes.length);
  expect(asked.hub.length).toBeGreaterThan(1);
  // Each part is requested at the hub again, which makes a new signed address.
  expect(asked.network).toHaveLength(asked.hub.length);
  for (const { headers } of asked.hub) expect(headers.authorization).toBe('Bearer secret');
  for (const { headers } of asked.network) expect(headers).not.toHaveProperty('authorization');
});
