// Redirects in Node: each step of a chain is checked, and a token stays with the origin that it was for.
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { fetchImage } from '../../src/image/fetchImage.ts';
import { openSource } from '../../src/io/sources.ts';
import { fetchInSteps } from '../../src/node/redirects.ts';
import { host } from '../../src/platform/host.ts';

/** Requests in order, as [address, authorization]. */
let asked: [string, string | null][] = [];

/** Replaces the global fetch by a network in which each address of `steps` redirects to the next one. */
function network(...steps: readonly string[]): string {
  asked = [];
  vi.stubGlobal('fetch', async (input: string, init: RequestInit) => {
    asked.push([input, new Headers(init.headers).get('authorization')]);
    expect(init.redirect).toBe('manual');
    const next = steps[asked.length];
    const response =
      next === undefined
        ? new Response('x')
        : new Response('moved', { status: 302, headers: { location: next } });
    return Object.defineProperty(response, 'url', { value: input });
  });
  return steps[0]!;
}

afterEach(() => {
  vi.unstubAllGlobals();
  delete host.fetch;
});

test.each([
  ['in the middle', ['https://a.example/x', 'http://b.example/x?secret', 'https://a.example/y']],
  ['at the end', ['https://a.example/x', 'https://a.example/y', 'http://b.example/x?secret']],
])('a step over http %s of a chain: refused, and not made', async (_, chain) => {
  host.fetch = fetchInSteps;
  const url = network(...chain);
  const message = expect.stringMatching(/x: the server redirected from https to http(?!.*secret)/) as string;
  await expect(openSource(url)).rejects.toMatchObject({ code: 'SOURCE_URL', message });
  expect(asked.filter(([address]) => address.startsWith('http:'))).toEqual([]);
  network(...chain);
  await expect(fetchImage(url, undefined)).rejects.toMatchObject({ code: 'IMAGE_FETCH', message });
  expect(asked.filter(([address]) => address.startsWith('http:'))).toEqual([]);
});

test('relative redirects and those from http to https are followed', async () => {
  network('http://a.example/b/x', '../y?z', 'https://b.example/');
  const response = await fetchInSteps('http://a.example/b/x');
  expect([await response.text(), response.url]).toEqual(['x', 'https://b.example/']);
  expect(asked[1]![0]).toBe('http://a.example/y?z');
});

test('a token does not reach another origin, nor come back from there', async () => {
  const url = network('https://a.example/x', '/y', 'https://b.example/x', 'https://a.example/z');
  await fetchInSteps(url, { headers: { authorization: 'Bearer secret', range: 'bytes=0-9' } });
  expect(asked.map(([, token]) => token)).toEqual(['Bearer secret', 'Bearer secret', null, null]);
});

test('a chain without end, and addresses that cannot be fetched, are errors of the request', async () => {
  const url = network(...Array.from({ length: 30 }, (_, i) => `https://a.example/${i}`));
  await expect(fetchInSteps(url)).rejects.toThrow('more than 20 redirects');
  expect(asked).toHaveLength(21);
  for (const next of ['file:///etc/passwd', 'data:,x', 'https://'])
    await expect(fetchInSteps(network('https://a.example/', next))).rejects.toThrow(TypeError);
});

test("through Node's own fetch: ranges are kept, the token is not", async () => {
  const seen: IncomingMessage['headers'][] = [];
  const addressOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const started = async (answer: Parameters<typeof createServer>[1]): Promise<Server> => {
    const server = createServer(answer);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return server;
  };
  const storage = await started((request, response) => {
    seen.push(request.headers);
    response.end('the file');
  });
  const hub = await started((_, response) =>
    response.writeHead(302, { location: `${addressOf(storage)}file` }).end('moved'),
  );
  const response = await fetchInSteps(addressOf(hub), {
    headers: { authorization: 'Bearer secret', range: 'bytes=0-' },
  });
  expect([await response.text(), response.url]).toEqual(['the file', `${addressOf(storage)}file`]);
  expect(seen[0]).toMatchObject({ range: 'bytes=0-' });
  expect(seen[0]).not.toHaveProperty('authorization');
  for (const server of [hub, storage]) {
    server.close();
    server.closeAllConnections();
  }
});
