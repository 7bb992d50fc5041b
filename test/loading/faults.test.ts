import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { encodeSafetensors, encodeSafetensorsHeader, parseSafetensors } from '../../src/safetensors.ts';
import { mayStartOver } from '../../src/io/part.ts';
import { pretrained } from '../../src/load/pretrained.ts';
import { openTensors, type TensorPiece } from '../../src/safetensors/tensorStream.ts';
import { changing, encodedLater, faults } from './faults.ts';
import { openServer, sha256, weightsFile, type TestServer } from './server.ts';

let server: TestServer;
beforeAll(async () => void (server = await openServer()));
afterAll(() => server.close());
afterEach(() => server.reset());

/**
 * Fetches without a visible Content-Range, as a browser does for another origin that does not expose the
 * header.
 */
const hiding: typeof fetch = async (input, init) => {
  const response = await fetch(input, init);
  const headers = new Headers(response.headers);
  headers.delete('content-range');
  return Object.defineProperty(new Response(response.body, { status: response.status, headers }), 'type', {
    value: 'cors',
  });
};

const expected = new Map(
  [...parseSafetensors(weightsFile).tensors].map(([name, { begin, end }]) => [
    name,
    sha256(weightsFile.subarray(begin, end)),
  ]),
);

/** Reads a checkpoint to its end and returns the hash of each tensor. */
async function read(options: Parameters<typeof pretrained>[1] = {}): Promise<Map<string, string>> {
  const source = await pretrained(server.url, { retry: { attempts: 4, delayMs: 5 }, ...options });
  const { stream } = await source.open({
    signal: options.signal,
    onProgress: () => undefined,
    reload: false,
    whole: false,
  });
  const parts = new Map<string, Buffer[]>();
  for await (const { name, bytes } of stream.pieces as AsyncIterable<TensorPiece>)
    parts.set(name, [...(parts.get(name) ?? []), Buffer.from(bytes)]);
  return new Map([...parts].map(([name, list]) => [name, sha256(Buffer.concat(list))]));
}

describe('network and server faults', () => {
  test.each(faults)('$name', async ({ fault, files, integrity, stallMs, error }) => {
    if (fault) server.fault = fault;
    if (files) server.files = files();
    const reading = read({
      integrity,
      retry: { attempts: 4, delayMs: 5, ...(stallMs === undefined ? {} : { stallMs }) },
    });
    if (error) {
      const found = await reading.then(
        () => undefined,
        (thrown: unknown) => thrown as Error & { code: string },
      );
      expect(found?.message).toMatch(error[1]);
      expect(found?.code).toBe(error[0]);
    } else {
      expect(await reading).toEqual(expected);
    }
  });

  test('403 for everything: the error names the weights file', async () => {
    server.fault = ({ name, response }) => name.startsWith('model') && !!response.writeHead(403).end();
    await expect(read()).rejects.toMatchObject({
      code: 'SOURCE_FETCH',
      status: 403,
      message: expect.stringMatching(/model\.safetensors: expected the file/) as string,
    });
  });

  test('the list covers more than 25 faults', () => expect(faults.length).toBeGreaterThan(25));

  test('three parts download in parallel, and no byte is requested twice', async () => {
    const { bytes, header } = encodeSafetensorsHeader([['cls_token', { dtype: 'U8', shape: [8_000_000] }]]);
    server.files.set('model.safetensors', Buffer.concat([bytes, new Uint8Array(8_000_000)]));
    let under = 0;
    let most = 0;
    let three!: () => void;
    const together = new Promise<void>((resolve) => (three = resolve));
    server.fault = async ({ response, name, count }) => {
      if (name !== 'model.safetensors') return false;
      most = Math.max(most, ++under);
      response.on('close', () => under--);
      if (under === 3) three();
      if (count > 0) await together; // The first request is sent alone, to learn whether the server supports ranges.
      return false;
    };
    await read();
    expect(most).toBe(3);
    // Parallel requests may arrive in any order.
    const ranges = server.asked
      .flatMap((line) => /bytes=(\d+)-(\d+)/.exec(line)?.slice(1).map(Number) ?? [])
      .sort((a, b) => a - b);
    for (let i = 2; i < ranges.length; i += 2) expect(ranges[i]).toBe(ranges[i - 1]! + 1);
    expect(ranges.at(-1)).toBe(header.fileBytes - 1);
  });

  test.each([
    ['an unknown total in Content-Range', {}],
    ['a Content-Range that another origin does not expose', { fetch: hiding }],
    ['the same, and an empty part instead of 416', { fetch: hiding, empty: true }],
  ] as const)(
    'a file shorter than the first part, with %s, needs few requests',
    async (_, { fetch: custom, empty }: { fetch?: typeof fetch; empty?: boolean }) => {
      const small = encodeSafetensors([
        [
          'weight',
          { dtype: 'F32', shape: [10, 100], data: Float32Array.from({ length: 1000 }, (__, i) => i) },
        ],
      ]);
      server.files.set('head.safetensors', small);
      server.fault = ({ range, bytes, response }) => {
        const [begin, end] = range!;
        if (begin >= bytes.length && !empty) return !!response.writeHead(416).end();
        return !!response
          .writeHead(206, { etag: '"one"', 'content-range': `bytes ${begin}-${end - 1}/*` })
          .end(bytes.subarray(begin, end));
      };
      const reading = (async () => {
        const stream = await openTensors(`${server.url}head.safetensors`, {
          fetch: custom,
          retry: { attempts: 2, delayMs: 5 },
        });
        const parts: Uint8Array[] = [];
        for await (const { bytes } of stream.pieces) parts.push(bytes.slice());
        return Buffer.concat(parts).equals(small.subarray(stream.header.dataBegin));
      })();
      if (empty) await expect(reading).rejects.toMatchObject({ code: 'SOURCE_TRUNCATED' });
      else expect(await reading).toBe(true);
      expect(server.asked.length).toBeLessThan(4);
    },
  );

  test('a truncated part is requested again from its next byte', async () => {
    server.fault = (asked) =>
      asked.count === 0 &&
      (faults.find(({ name }) => name === 'the first part is truncated')!.fault!(asked) as boolean);
    await read({}).catch(() => undefined);
    expect(server.asked.some((line) => line.includes(' bytes=1000-'))).toBe(true);
  });

  test('a file that changes during the download is an error after which the load may start over', async () => {
    server.fault = changing(({ count }) => count < 2);
    const error = await read().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: 'SOURCE_CHANGED' });
    expect(mayStartOver(error)).toBe(true);
  });

  test.each(['ranges of the compressed bytes', 'a weak ETag: the whole file in one response'])(
    'requesting the whole file because ranges are unusable does not count as a retry: %s',
    async (name) => {
      server.fault = faults.find((each) => each.name === name)!.fault!;
      expect(await read({ retry: { attempts: 1 } })).toEqual(expected);
    },
  );

  test.each(encodedLater)(
    'bytes that continue %s are not accepted as bytes of the file',
    async (_, fault) => {
      server.fault = fault;
      const error = await read().then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error).toMatchObject({
        code: 'SOURCE_CHANGED',
        message: expect.stringMatching(/the file changed.*found a Content-Encoding/) as string,
      });
      expect(mayStartOver(error)).toBe(true);
    },
  );

  test('an abort ends all requests, whenever it comes', async () => {
    for (const after of [0, 1, 2, 3]) {
      server.reset();
      const controller = new AbortController();
      const reason = new Error('enough');
      const closed: Promise<unknown>[] = [];
      server.fault = ({ response, request, count, name }) => {
        closed.push(
          new Promise(
            (resolve) =>
              request.socket.on('close', resolve).on('free', resolve) && response.on('close', resolve),
          ),
        );
        if (name !== 'model.safetensors' || count < after) return false;
        setTimeout(() => controller.abort(reason), 10);
        return true; // never respond
      };
      await expect(read({ signal: controller.signal })).rejects.toBe(reason);
      await Promise.all(closed);
    }
  });

  test('an abort ends the wait before a retry', async () => {
    const controller = new AbortController();
    server.fault = ({ name, response }) =>
      name === 'model.safetensors' &&
      !!response.writeHead(503).end() &&
      (setTimeout(() => controller.abort(new Error('enough')), 20), true);
    await expect(read({ signal: controller.signal, retry: { delayMs: 60_000 } })).rejects.toThrow('enough');
  });
});
