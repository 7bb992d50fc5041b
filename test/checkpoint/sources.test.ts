import { readFileSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { MAX_CHUNK_BYTES, concat, openSource, readAll } from '../../src/io/sources.js';
import type { ByteSource, ByteStream } from '../../src/io/sources.js';
import { SourceError } from '../../src/errors.js';

/** Bytes computed from their position, so that misplaced bytes are noticed. */
function pattern(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255);
}

function streamOf(
  chunks: readonly unknown[],
  onCancel?: (reason: unknown) => void,
): ReadableStream<Uint8Array> {
  const rest = [...chunks];
  return new ReadableStream({
    pull(controller) {
      if (rest.length === 0) {
        controller.close();
      } else {
        controller.enqueue(rest.shift() as Uint8Array);
      }
    },
    cancel: (reason) => onCancel?.(reason),
  });
}

/** A stream that gives some bytes and then hangs. */
function stuckStream(
  first: Uint8Array | undefined,
  onCancel: (reason: unknown) => void,
): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start: (controller) => void (first !== undefined && controller.enqueue(first)),
    cancel: onCancel,
  });
}

async function collect({ chunks }: ByteStream): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    expect(chunk.length).toBeGreaterThan(0);
    expect(chunk.length).toBeLessThanOrEqual(MAX_CHUNK_BYTES);
    parts.push(chunk.slice());
    length += chunk.length;
  }
  return concat(parts, length);
}

async function failure(promise: Promise<unknown>): Promise<SourceError> {
  const error: unknown = await promise.then(
    () => expect.unreachable('nothing was thrown'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SourceError);
  return error as SourceError;
}

const open = async (source: ByteSource): Promise<Uint8Array> => collect(await openSource(source));

describe('bytes, Blobs and streams', () => {
  const bytes = pattern(2 * MAX_CHUNK_BYTES + 5);

  test.each<[string, ByteSource, number | undefined]>([
    ['Uint8Array', bytes, bytes.length],
    ['ArrayBuffer', bytes.buffer, bytes.length],
    ['Buffer', Buffer.from(bytes), bytes.length],
    ['view', bytes.subarray(3, 10), 7],
    ['Blob', new Blob([bytes]), bytes.length],
    ['File', new File([bytes], 'vits.safetensors'), bytes.length],
    ['empty Blob', new Blob([]), 0],
    ['empty bytes', new Uint8Array(0), 0],
    ['stream of one long chunk', streamOf([bytes]), undefined],
    [
      'stream with empty chunks',
      streamOf([new Uint8Array(0), bytes.subarray(0, 9), new Uint8Array(0), bytes.subarray(9)]),
      undefined,
    ],
    ['empty stream', streamOf([]), undefined],
  ])('%s', async (kind, source, totalBytes) => {
    const stream = await openSource(source);
    expect(stream.totalBytes).toBe(totalBytes);
    const got = await collect(stream);
    const expected =
      kind === 'view' ? bytes.subarray(3, 10) : kind.startsWith('empty') ? new Uint8Array(0) : bytes;
    expect(Buffer.compare(got, expected)).toBe(0);
  });

  test('have a name for error messages', async () => {
    expect((await openSource(new File([], 'vits.safetensors'))).name).toBe('vits.safetensors');
    expect((await openSource(new Blob([]))).name).toBe('Blob');
  });

  test('are not copied if they are in memory', async () => {
    const stream = await openSource(bytes);
    for await (const chunk of stream.chunks) {
      expect(chunk.buffer).toBe(bytes.buffer);
    }
  });

  test('can be read once: a second loop is an error', async () => {
    const stream = await openSource(bytes);
    await collect(stream);
    expect((await failure(collect(stream))).message).toContain('can be read only once');
  });

  test.each([[undefined], [null], [42], [{}], [[1, 2]]])('%j is not a source', async (source) => {
    await expect(openSource(source as unknown as ByteSource)).rejects.toMatchObject({ code: 'OPTION_VALUE' });
  });
});

describe('errors of streams and files', () => {
  test('a locked stream', async () => {
    const stream = streamOf([]);
    stream.getReader();
    expect((await failure(openSource(stream))).code).toBe('SOURCE_READ');
  });

  test('a stream that fails, with or without a reason', async () => {
    for (const reason of [new Error('unplugged'), undefined, 'text']) {
      const stream = new ReadableStream<Uint8Array>({ pull: (controller) => controller.error(reason) });
      const error = await failure(open(stream));
      expect(error.code).toBe('SOURCE_READ');
      expect(error.cause).toBe(reason);
    }
  });

  test('a stream of strings', async () => {
    let cancelled: unknown;
    const error = await failure(open(streamOf(['text', 'text'], (reason) => (cancelled = reason ?? 'yes'))));
    expect(error.message).toContain('found a string');
    expect(cancelled).toBeDefined();
  });

  test('a Blob that cannot be read, or has shrunk', async () => {
    const cause = new DOMException('changed', 'NotReadableError');
    const unreadable = new File(['abc'], 'gone.safetensors');
    unreadable.stream = () => new ReadableStream({ pull: (controller) => controller.error(cause) });
    const error = await failure(open(unreadable));
    expect(error.code).toBe('SOURCE_READ');
    expect(error.message).toMatch(
      /^gone\.safetensors: reading failed after 0 of 3 bytes \(NotReadableError: changed\)\. /,
    );

    const shrunk = new File(['abc'], 'short');
    shrunk.stream = () => streamOf([new Uint8Array(2)]) as ReadableStream<Uint8Array<ArrayBuffer>>;
    expect((await failure(open(shrunk))).code).toBe('SOURCE_TRUNCATED');
  });
});

describe('stopping', () => {
  const reason = new Error('enough');

  test('an abort before the start', async () => {
    await expect(openSource(pattern(3), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  test('an abort during a pending read cancels the stream', async () => {
    const cancel = vi.fn();
    const source = stuckStream(pattern(3), cancel);
    const controller = new AbortController();
    const stream = await openSource(source, { signal: controller.signal });
    const iterator = stream.chunks[Symbol.asyncIterator]();
    expect((await iterator.next()).value).toEqual(pattern(3));
    const pending = iterator.next();
    controller.abort(reason);
    await expect(pending).rejects.toBe(reason);
    expect(cancel).toHaveBeenCalledExactlyOnceWith(reason);
    expect(source.locked).toBe(false);
  });

  test('an abort without a pending read cancels the stream at once', async () => {
    const cancel = vi.fn();
    const controller = new AbortController();
    const stream = await openSource(stuckStream(undefined, cancel), { signal: controller.signal });
    controller.abort(reason);
    expect(cancel).toHaveBeenCalledExactlyOnceWith(reason);
    await expect(collect(stream)).rejects.toBe(reason);
  });

  test('an abort between two parts of one long chunk ends the read', async () => {
    const controller = new AbortController();
    const stream = await openSource(new Uint8Array(3 * MAX_CHUNK_BYTES), { signal: controller.signal });
    const iterator = stream.chunks[Symbol.asyncIterator]();
    await iterator.next();
    controller.abort(reason);
    await expect(iterator.next()).rejects.toBe(reason);
  });

  test('cancel ends pending and later reads', async () => {
    const cancel = vi.fn();
    const stream = await openSource(stuckStream(undefined, cancel));
    const pending = collect(stream);
    await stream.cancel(reason);
    await expect(pending).rejects.toBe(reason);
    await stream.cancel('again');
    expect(cancel).toHaveBeenCalledTimes(1);

    const silent = await openSource(pattern(3));
    await silent.cancel();
    await expect(collect(silent)).rejects.toMatchObject({ name: 'AbortError' });
  });

  test('leaving the loop cancels the stream, and removes the listeners of the signal', async () => {
    const cancel = vi.fn();
    const controller = new AbortController();
    const add = vi.spyOn(controller.signal, 'addEventListener');
    const remove = vi.spyOn(controller.signal, 'removeEventListener');
    const source = stuckStream(pattern(3), cancel);
    const stream = await openSource(source, { signal: controller.signal });
    for await (const _ of stream.chunks) {
      break;
    }
    expect(cancel).toHaveBeenCalledTimes(1);
    expect(source.locked).toBe(false);
    expect(remove).toHaveBeenCalledTimes(add.mock.calls.length);
  });

  test('reading to the end also removes the listeners of the signal', async () => {
    const controller = new AbortController();
    const add = vi.spyOn(controller.signal, 'addEventListener');
    const remove = vi.spyOn(controller.signal, 'removeEventListener');
    await collect(await openSource(pattern(3), { signal: controller.signal }));
    expect(remove).toHaveBeenCalledTimes(add.mock.calls.length);
  });

  test('an abort does not wait for a stream whose cancel never settles', async () => {
    const controller = new AbortController();
    const source = new ReadableStream<Uint8Array>({ cancel: () => new Promise(() => {}) });
    const stream = await openSource(source, { signal: controller.signal });
    const pending = collect(stream);
    controller.abort(reason);
    await expect(pending).rejects.toBe(reason);
  });
});

describe('URLs', () => {
  const bytes = pattern(100_000);
  const handlers: Record<string, (request: IncomingMessage, response: ServerResponse) => void> = {
    '/file': (_, response) => response.writeHead(200, { 'content-length': bytes.length }).end(bytes),
    '/chunked': (_, response) => response.writeHead(200).write(bytes, () => response.end()),
    '/gzip': (_, response) => {
      const packed = gzipSync(new Uint8Array(5000));
      response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': packed.length }).end(packed);
    },
    '/cut': (_, response) =>
      response
        .writeHead(200, { 'content-length': 100 })
        .write(bytes.subarray(0, 40), () => response.destroy()),
    '/cut-chunked': (_, response) =>
      response.writeHead(200).write(bytes.subarray(0, 40), () => response.destroy()),
    '/html': (_, response) =>
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<!doctype html>'),
    '/html-untold': (_, response) => response.writeHead(200).end('\n<!DOCTYPE html><title>Sign in</title>'),
    '/tiny-html': (_, response) => response.writeHead(200).end('<a>'),
    '/json': (_, response) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"hidden_size":384}'),
    '/empty': (_, response) => response.writeHead(200, { 'content-length': 0 }).end(),
    '/none': (_, response) => response.writeHead(204).end(),
    // A safetensors header of 60 bytes, so the first byte is "<" as in HTML.
    '/sixty': (_, response) => response.writeHead(200).end(Uint8Array.of(60, 0, 0, 0, 0, 0, 0, 0, 123)),
    '/slow': (_, response) => response.writeHead(200).write(bytes.subarray(0, 100)),
    '/silent': () => undefined,
    '/part': (_, response) => response.writeHead(206).end('part'),
    '/busy': (_, response) => response.writeHead(429, { 'retry-after': '30' }).end(),
    '/away': (_, response) => response.writeHead(302, { location: '/file' }).end(),
  };
  const server = createServer((request, response) => {
    const path = request.url!.replace(/\?.*/, '');
    const status = /^\/status\/(\d+)/.exec(path)?.[1];
    if (status !== undefined) {
      response.writeHead(Number(status)).end('no');
    } else {
      handlers[path]!(request, response);
    }
  });
  let root = '';
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    root = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  afterEach(() => {
    vi.unstubAllGlobals();
  });
  const fails = (path: string): Promise<SourceError> =>
    failure(openSource(root + path, { retry: { attempts: 2, delayMs: 1 } }).then(collect));

  test('return their bytes', async () => {
    const stream = await openSource(`${root}/file?token=secret#part`);
    expect(stream.totalBytes).toBe(bytes.length);
    expect(stream.name).toBe(`${root}/file`); // error messages omit the query, which may contain a secret
    expect(Buffer.compare(await collect(stream), bytes)).toBe(0);
    expect(Buffer.compare(await open(new URL(`${root}/away`)), bytes)).toBe(0);
    const chunked = await openSource(`${root}/chunked`);
    expect(chunked.totalBytes).toBeUndefined();
    expect(Buffer.compare(await collect(chunked), bytes)).toBe(0);
    expect(await open(`${root}/empty`)).toHaveLength(0);
    expect(await open(`${root}/none`)).toHaveLength(0);
    expect(await open(`${root}/sixty`)).toHaveLength(9);
  });

  test('can be blob: URLs', async () => {
    const url = URL.createObjectURL(new Blob([bytes]));
    expect(Buffer.compare(await open(url), bytes)).toBe(0);
    URL.revokeObjectURL(url);
    expect((await failure(openSource(url))).code).toBe('SOURCE_FETCH');
  });

  test('can be relative to the page', async () => {
    vi.stubGlobal('location', { href: `${root}/folder/page.html` });
    expect(Buffer.compare(await open('../file'), bytes)).toBe(0);
    vi.stubGlobal('document', { baseURI: `${root}/` });
    expect(Buffer.compare(await open('file'), bytes)).toBe(0);
  });

  test.each([
    'file:///etc/passwd',
    'data:text/plain,abc',
    'ftp://example.com/x',
    'javascript:alert(1)',
    'C:\\models\\x',
    'http://',
    '',
  ])('%j is rejected', async (url) => {
    vi.stubGlobal('location', { href: url === '' ? 'about:blank' : 'https://example.com/' }); // simulates a page, because Node accepts some of these as paths
    expect((await failure(openSource(url))).code).toBe('SOURCE_URL');
  });

  test('can be paths in Node', async () => {
    const path = fileURLToPath(import.meta.url);
    const expected = readFileSync(path);
    for (const source of [path, pathToFileURL(path), pathToFileURL(path).href, relative(process.cwd(), path)])
      expect(Buffer.compare(await open(source), expected)).toBe(0);
    expect((await failure(openSource(`${path}.gone`))).message).toMatch(
      /sources\.test\.ts\.gone: the file cannot be read: Error: ENOENT/,
    );
    expect((await failure(openSource(dirname(path)))).message).toContain('leads to a folder');
  });

  test('a FileSystemFileHandle gives its file', async () => {
    const handle = {
      kind: 'file',
      name: 'x',
      getFile: async () => new File([bytes], 'picked.safetensors'),
    } as unknown as FileSystemFileHandle;
    expect((await openSource(handle)).name).toBe('picked.safetensors');
    expect(Buffer.compare(await open(handle), bytes)).toBe(0);
  });

  test('must not contain a password, and the error does not repeat it', async () => {
    const error = await failure(openSource('https://me:hunter2@example.com/x'));
    expect(error.code).toBe('SOURCE_URL');
    expect(error.message).not.toContain('hunter2');
  });

  test.each([
    [401, 'Authorization'],
    [403, 'private, gated or misspelt'],
    [404, 'there is no such file'],
    [410, 'there is no such file'],
    [418, 'Check the address'],
    [500, 'try again later'],
    [503, 'try again later'],
  ])('status %i is an error with advice', async (status, advice) => {
    const error = await fails(`/status/${status}`);
    expect(error.code).toBe('SOURCE_FETCH');
    expect(error.message).toContain(
      `${root}/status/${status}: expected the file (status 200), found status ${status}`,
    );
    expect(error.message).toContain(advice);
  });

  test('a partial response and a busy server are errors', async () => {
    expect((await fails('/part')).message).toContain('found status 206');
    expect((await failure(openSource(`${root}/busy`, { retry: { attempts: 1 } }))).message).toContain(
      'Try again in 30 seconds.',
    );
  });

  test('an HTML page instead of the file is an error', async () => {
    for (const path of ['/html', '/html-untold', '/tiny-html']) {
      expect((await fails(path)).code).toBe('SOURCE_IS_HTML');
    }
  });

  test('a truncated body is an error', async () => {
    const error = await fails('/cut');
    expect(error.code).toBe('SOURCE_TRUNCATED');
    expect(error.message).toContain('expected 100 bytes, found 40');
    expect((await fails('/cut-chunked')).code).toBe('SOURCE_FETCH');
  });

  test('a server that cannot be reached is an error', async () => {
    const error = await failure(openSource('http://127.0.0.1:1/x'));
    expect(error.code).toBe('SOURCE_FETCH');
    expect(error.cause).toBeInstanceOf(TypeError);
  });

  test('Content-Length is used only if the body was not compressed', async () => {
    const gzip = await openSource(`${root}/gzip`);
    expect(gzip.totalBytes).toBeUndefined();
    expect(await collect(gzip)).toHaveLength(5000);

    const answer = (headers: Record<string, string>, type?: ResponseType) => async (): Promise<Response> => {
      const response = new Response('12345', { headers });
      return type === undefined ? response : Object.defineProperty(response, 'type', { value: type });
    };
    const fetched = (headers: Record<string, string>, type?: ResponseType): Promise<ByteStream> =>
      openSource('https://example.com/x', { fetch: answer(headers, type) });
    expect((await failure(fetched({ 'content-length': '6' }).then(collect))).code).toBe('SOURCE_TRUNCATED');
    expect((await failure(fetched({ 'content-length': '4' }).then(collect))).code).toBe('SOURCE_TOO_LONG');
    expect((await fetched({ 'content-length': '5', 'content-encoding': 'identity' })).totalBytes).toBe(5);
    expect((await fetched({ 'content-length': '5', 'content-encoding': 'br' })).totalBytes).toBeUndefined();
    expect((await fetched({ 'content-length': '-5' })).totalBytes).toBeUndefined();
    // A cross-origin response may hide its Content-Encoding header, so the length is unreliable.
    expect((await fetched({ 'content-length': '4' }, 'cors')).totalBytes).toBeUndefined();
    expect(
      (await fetched({ 'content-length': '5', 'content-encoding': 'identity' }, 'cors')).totalBytes,
    ).toBe(5);
  });

  test('a redirect from https to http is rejected', async () => {
    const fetch = async (): Promise<Response> =>
      Object.defineProperty(new Response('x'), 'url', { value: 'http://example.com/x?secret' });
    const error = await failure(openSource('https://example.com/x', { fetch }));
    expect(error.code).toBe('SOURCE_URL');
    expect(error.message).not.toContain('secret');
  });

  test('an abort at any time ends the request', async () => {
    const reason = new Error('enough');
    for (const path of ['/silent', '/slow']) {
      const controller = new AbortController();
      const closed = new Promise((resolve) =>
        server.once('request', (request: IncomingMessage) => request.socket.once('close', resolve)),
      );
      const opened = openSource(root + path, { signal: controller.signal }).then(collect);
      setTimeout(() => controller.abort(reason), 30);
      await expect(opened).rejects.toBe(reason);
      await closed;
    }
  });

  test('an abort does not wait for a fetch that ignores the signal', async () => {
    const reason = new Error('enough');
    const controller = new AbortController();
    const cancel = vi.fn();
    let answer!: (response: Response) => void;
    const fetch = (): Promise<Response> => new Promise((resolve) => (answer = resolve));
    const opened = openSource('https://example.com/x', { fetch, signal: controller.signal });
    controller.abort(reason);
    await expect(opened).rejects.toBe(reason);
    answer(new Response(stuckStream(undefined, cancel)));
    await vi.waitFor(() => expect(cancel).toHaveBeenCalledWith(reason), { timeout: 30_000 });
  });

  test('an abort before enough bytes for the first check have arrived cancels the body', async () => {
    const reason = new Error('enough');
    const controller = new AbortController();
    const cancel = vi.fn();
    const fetch = async (): Promise<Response> => new Response(stuckStream(pattern(3), cancel));
    const opened = openSource('https://example.com/x', { fetch, signal: controller.signal });
    setTimeout(() => controller.abort(reason), 10);
    await expect(opened).rejects.toBe(reason);
    expect(cancel).toHaveBeenCalledExactlyOnceWith(reason);
  });

  test('the body of a rejected response is not downloaded', async () => {
    for (const init of [{ status: 404 }, { headers: { 'content-type': 'text/html' } }]) {
      const cancel = vi.fn();
      const fetch = async (): Promise<Response> => new Response(stuckStream(pattern(3), cancel), init);
      await failure(openSource('https://example.com/x', { fetch }));
      expect(cancel).toHaveBeenCalledTimes(1);
    }
  });

  test('the first bytes can arrive one at a time', async () => {
    const fetch = async (): Promise<Response> =>
      new Response(streamOf(Array.from(bytes.subarray(0, 50), (byte) => Uint8Array.of(byte))));
    expect(await collect(await openSource('https://example.com/x', { fetch }))).toEqual(
      new Uint8Array(bytes.subarray(0, 50)),
    );
    const text = new TextEncoder().encode(' \r\n<html>');
    const page = async (): Promise<Response> =>
      new Response(streamOf(Array.from(text, (byte) => Uint8Array.of(byte))));
    expect((await failure(openSource('https://example.com/x', { fetch: page }))).code).toBe('SOURCE_IS_HTML');
  });

  test('readAll returns the whole file', async () => {
    expect(new TextDecoder().decode(await readAll(`${root}/json`))).toBe('{"hidden_size":384}');
    expect(await readAll(new Uint8Array(5))).toHaveLength(5);
  });

  test('readAll stops at its limit', async () => {
    expect((await failure(readAll(`${root}/file`, { maxBytes: 99_999 }))).message).toContain(
      'expected at most 99999 bytes, found 100000',
    );
    expect(await readAll(`${root}/file`, { maxBytes: 100_000 })).toHaveLength(100_000);
    const cancel = vi.fn();
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(65_536)),
      cancel,
    });
    expect((await failure(readAll(endless))).code).toBe('SOURCE_TOO_LONG');
    expect(cancel).toHaveBeenCalledTimes(1);
  });
});
