/** Faults between a server and a page, with the expected outcome of each. */
import { gzipSync } from 'node:zlib';
import { answer, configFile, sha256, shardsOf, weightsFile, type Asked, type Fault } from './server.ts';

export interface FaultCase {
  readonly name: string;
  readonly fault?: Fault;
  readonly files?: () => Map<string, Uint8Array>;
  readonly integrity?: string;
  readonly stallMs?: number;
  /**
   * The expected error: its code and a pattern of its message. Undefined means the load must succeed with
   * correct bytes.
   */
  readonly error?: readonly [code: string, text: RegExp];
}

/** Applies a fault only to the weights file. */
const ofWeights =
  (fault: Fault): Fault =>
  (asked) =>
    asked.name === 'model.safetensors' && fault(asked);
const with206 = (
  { bytes, range, response }: Asked,
  headers: Record<string, string>,
  body = bytes.subarray(...range!),
): true => {
  response.writeHead(206, { etag: '"one"', ...headers }).end(body);
  return true;
};
const whole = ({ bytes, response }: Asked, headers: Record<string, string> = {}): true => {
  response.writeHead(200, { 'content-length': bytes.length, ...headers }).end(bytes);
  return true;
};
/** Announces 1,000 bytes of the requested range but sends 5,000 more. */
const tooMuch = (asked: Asked): true =>
  with206(
    asked,
    { 'content-range': `bytes ${asked.range![0]}-${asked.range![0] + 999}/${asked.bytes.length}` },
    Buffer.concat([asked.bytes.subarray(asked.range![0], asked.range![0] + 1000), Buffer.alloc(5000, 7)]),
  );
/** Sends the headers of a correct response but only `keep` bytes of the body. */
const cut = (
  { bytes, range, response }: Asked,
  keep: number,
  headers: Record<string, string> = { etag: '"one"' },
): true => {
  const [begin, end] = range ?? [0, bytes.length];
  response.writeHead(range ? 206 : 200, {
    ...headers,
    'content-length': end - begin,
    ...(range ? { 'content-range': `bytes ${begin}-${end - 1}/${bytes.length}` } : {}),
  });
  response.write(bytes.subarray(begin, Math.min(begin + keep, end)), () => response.destroy());
  return true;
};
const good = (asked: Asked, headers: Record<string, string> = {}): true => {
  answer(asked, { etag: '"one"', ...headers });
  return true;
};
const refuse =
  (status: number, headers: Record<string, string> = {}): Fault =>
  ({ response }) => {
    response.writeHead(status, headers).end('no');
    return true;
  };
const files =
  (...changes: [string, Uint8Array | undefined][]) =>
  (): Map<string, Uint8Array> => {
    const all = new Map<string, Uint8Array>([['config.json', configFile], ...shardsOf(3)]);
    for (const [name, bytes] of changes) {
      if (bytes) all.set(name, bytes);
      else all.delete(name);
    }
    return all;
  };
const indexOf = (weightMap: Record<string, string>): [string, Uint8Array] => [
  'model.safetensors.index.json',
  new TextEncoder().encode(JSON.stringify({ weight_map: weightMap })),
];
const longer = (): Map<string, Uint8Array> =>
  new Map<string, Uint8Array>([
    ['config.json', configFile],
    ['model.safetensors', Buffer.concat([weightsFile, Buffer.from('extra')])],
  ]);

export const faults: readonly FaultCase[] = [
  { name: 'none: parallel ranges' },
  {
    name: 'a server without ranges answers 200',
    fault: ofWeights((asked) => whole(asked, { etag: '"one"' })),
  },
  {
    name: 'neither ranges nor a length',
    fault: ofWeights(({ bytes, response }) => {
      response.writeHead(200).end(bytes);
      return true;
    }),
  },
  {
    name: 'the first part is truncated',
    fault: ofWeights((asked) => (asked.count === 0 ? cut(asked, 1000) : good(asked))),
  },
  {
    name: 'a later part is truncated',
    fault: ofWeights((asked) => (asked.count === 2 ? cut(asked, 300_000) : good(asked))),
  },
  {
    name: 'every third response is truncated after 100 kB',
    fault: ofWeights((asked) => (asked.count % 3 === 2 ? cut(asked, 100_000) : good(asked))),
  },
  {
    name: 'a truncated response without ranges: the known bytes are sent again',
    fault: ofWeights((asked) =>
      asked.count === 0 ? cut({ ...asked, range: undefined }, 700_000) : whole(asked, { etag: '"one"' }),
    ),
  },
  {
    name: 'the connection is reset before a response',
    fault: ofWeights((asked) => {
      if (asked.count > 1) return good(asked);
      asked.response.destroy();
      return true;
    }),
    error: ['SOURCE_FETCH', /the request failed.*2 attempts failed/],
  },
  {
    name: 'the connection of a later part is reset before a response',
    fault: ofWeights((asked) => {
      if (asked.count !== 1) return good(asked);
      asked.response.destroy();
      return true;
    }),
  },
  { name: '503 twice', fault: ofWeights((asked) => (asked.count < 2 ? refuse(503)(asked) : good(asked))) },
  {
    name: '429 with Retry-After',
    fault: ofWeights((asked) =>
      asked.count === 1 ? refuse(429, { 'retry-after': '1' })(asked) : good(asked),
    ),
  },
  {
    name: 'slow: a few bytes at a time',
    fault: ofWeights(({ range, bytes, response, count }) => {
      const [begin, end] = range!;
      response.writeHead(206, {
        etag: '"one"',
        'content-length': end - begin,
        'content-range': `bytes ${begin}-${end - 1}/${bytes.length}`,
      });
      const drip = (at: number): void =>
        void (at < end
          ? response.write(bytes.subarray(at, Math.min(at + (count === 1 ? 40_000 : 200_000), end)), () =>
              setTimeout(drip, 3, at + (count === 1 ? 40_000 : 200_000)),
            )
          : response.end());
      drip(begin);
      return true;
    }),
  },
  {
    name: 'a stall in the middle of a body',
    stallMs: 300,
    fault: ofWeights((asked) => {
      if (asked.count !== 1) return good(asked);
      const [begin, end] = asked.range!;
      asked.response
        .writeHead(206, {
          etag: '"one"',
          'content-length': end - begin,
          'content-range': `bytes ${begin}-${end - 1}/${asked.bytes.length}`,
        })
        .write(asked.bytes.subarray(begin, begin + 5000));
      return true;
    }),
  },
  {
    name: 'parts shorter than requested',
    fault: ofWeights((asked) =>
      good({
        ...asked,
        range: asked.range && [asked.range[0], Math.min(asked.range[1], asked.range[0] + 200_000)],
      }),
    ),
  },
  {
    name: 'a Content-Range that is wrong once',
    fault: ofWeights((asked) =>
      asked.count === 1
        ? with206(
            asked,
            { 'content-range': `bytes 0-99/${asked.bytes.length}` },
            asked.bytes.subarray(0, 100),
          )
        : good(asked),
    ),
  },
  {
    name: 'a part with more bytes than announced, once',
    fault: ofWeights((asked) => (asked.count === 1 ? tooMuch(asked) : good(asked))),
  },
  {
    name: 'a Content-Range that ends before it begins, once',
    fault: ofWeights((asked) =>
      asked.count === 1
        ? with206(
            asked,
            { 'content-range': `bytes ${asked.range![0]}-${asked.range![0] - 5}/${asked.bytes.length}` },
            Buffer.alloc(100, 7),
          )
        : good(asked),
    ),
  },
  {
    name: 'ranges of the compressed bytes',
    fault: ofWeights((asked) => {
      if (!asked.range) return whole(asked, { etag: '"one"' });
      const packed = gzipSync(asked.bytes, { level: 1 });
      const [begin, end] = [asked.range[0], Math.min(asked.range[1], packed.length)];
      return with206(
        asked,
        { 'content-encoding': 'gzip', 'content-range': `bytes ${begin}-${end - 1}/${packed.length}` },
        packed.subarray(begin, end),
      );
    }),
  },
  {
    name: 'a date instead of an ETag',
    fault: ofWeights((asked) => {
      asked.response.setHeader('last-modified', 'Wed, 01 Jan 2025 00:00:00 GMT');
      const [begin, end] = asked.range!;
      asked.response
        .writeHead(206, {
          'content-length': end - begin,
          'content-range': `bytes ${begin}-${end - 1}/${asked.bytes.length}`,
        })
        .end(asked.bytes.subarray(begin, end));
      return true;
    }),
  },
  {
    name: 'a weak ETag: the whole file in one response',
    fault: ofWeights((asked) =>
      asked.range
        ? with206(asked, {
            etag: 'W/"one"',
            'content-range': `bytes ${asked.range[0]}-${asked.range[1] - 1}/${asked.bytes.length}`,
          })
        : whole(asked),
    ),
  },
  {
    name: 'status 200 for a later range of the same version',
    fault: ofWeights((asked) => (asked.count === 2 ? whole(asked, { etag: '"one"' }) : good(asked))),
  },
  {
    name: 'an unknown total in Content-Range',
    fault: ofWeights((asked) => {
      const [begin, end] = asked.range!;
      if (begin >= asked.bytes.length) return refuse(416)(asked);
      return with206(asked, { 'content-range': `bytes ${begin}-${end - 1}/*` });
    }),
  },
  {
    name: 'gzip, with the length of the compressed bytes',
    fault: ofWeights(({ bytes, response }) => {
      const packed = gzipSync(bytes, { level: 1 });
      response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': packed.length }).end(packed);
      return true;
    }),
  },
  {
    name: 'a redirect',
    fault: ofWeights(({ response, request }) => {
      if (request.url!.includes('?')) return false;
      response.writeHead(302, { location: '/model.safetensors?signed' }).end();
      return true;
    }),
  },
  { name: 'several files', files: files() },
  {
    name: 'several files, in a bucket that answers 403 for missing files',
    files: files(),
    fault: ofWeights(refuse(403)),
  },
  {
    name: 'several files, on a server that answers a web page for missing files',
    files: files(),
    fault: ofWeights(({ response }) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>');
      return true;
    }),
  },
  {
    name: 'several files, one of them truncated once',
    files: files(),
    fault: (asked) =>
      asked.name.startsWith('model-00002') &&
      asked.count === 1 &&
      cut(asked, 50_000, { etag: `"${sha256(asked.bytes).slice(0, 16)}"` }),
  },
  { name: 'a correct SHA-256', integrity: sha256(weightsFile) },
  {
    name: 'a correct SHA-256 without ETag or Last-Modified',
    integrity: sha256(weightsFile),
    fault: ofWeights((asked) => {
      const [begin, end] = asked.range ?? [0, asked.bytes.length];
      if (asked.count === 1) return cut(asked, 1000, {});
      asked.response
        .writeHead(206, {
          'content-length': end - begin,
          'content-range': `bytes ${begin}-${end - 1}/${asked.bytes.length}`,
        })
        .end(asked.bytes.subarray(begin, end));
      return true;
    }),
  },
  // Faults that must fail the load.
  {
    name: 'the SHA-256 of another file',
    integrity: 'ab'.repeat(32),
    error: ['SOURCE_INTEGRITY', /expected the SHA-256 abab/],
  },
  {
    name: '404',
    fault: ofWeights(refuse(404)),
    error: ['SOURCE_FETCH', /status 404.*there is no such file/],
  },
  {
    name: 'a web page',
    fault: ofWeights(({ response }) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>');
      return true;
    }),
    error: ['SOURCE_IS_HTML', /content-type text\/html/],
  },
  {
    name: 'a web page without its content type',
    fault: ofWeights(({ response }) => {
      response.writeHead(200).end('<!doctype html><title>Log in</title>');
      return true;
    }),
    error: ['SOURCE_IS_HTML', /it begins with/],
  },
  {
    name: '500 for every request',
    fault: ofWeights(refuse(500)),
    error: ['SOURCE_FETCH', /status 500.*4 attempts failed/],
  },
  {
    name: 'Retry-After: one hour',
    fault: ofWeights(refuse(429, { 'retry-after': '3600' })),
    error: ['SOURCE_FETCH', /Try again in 3600 seconds/],
  },
  {
    name: 'a body that is always truncated',
    fault: ofWeights((asked) => cut(asked, 0)),
    error: ['SOURCE_TRUNCATED', /the source ended early.*4 attempts failed/],
  },
  {
    name: 'parts that always carry more bytes than announced',
    fault: ofWeights(tooMuch),
    error: [
      'SOURCE_FETCH',
      /expected bytes from 0 on, found more.*with a different range.*4 attempts failed/,
    ],
  },
  {
    name: 'a truncated body without ETag or Last-Modified',
    fault: ofWeights((asked) => cut({ ...asked, range: undefined }, 700_000, {})),
    error: ['SOURCE_TRUNCATED', /the source ended early/],
  },
  { name: 'bytes after the last tensor', files: longer, error: ['TRAILING_BYTES', /belong to no tensor/] },
  {
    name: 'a file shorter than its header says',
    files: () =>
      new Map<string, Uint8Array>([
        ['config.json', configFile],
        ['model.safetensors', weightsFile.subarray(0, -1000)],
      ]),
    error: ['DATA_TRUNCATED', /the file ends before tensor/],
  },
  {
    name: 'several files, one missing',
    files: files(['model-00002-of-00003.safetensors', undefined]),
    error: ['SOURCE_FETCH', /model-00002-of-00003\.safetensors: expected the file.*404/],
  },
  {
    name: 'several files, one a web page',
    files: files(['model-00003-of-00003.safetensors', Buffer.from('<!doctype html><p>Sign in')]),
    error: ['SOURCE_IS_HTML', /model-00003/],
  },
  {
    name: 'several files, one damaged',
    files: files(['model-00001-of-00003.safetensors', weightsFile.subarray(2)]),
    error: ['HEADER_TOO_LARGE', /model-00001/],
  },
  {
    name: 'an index that names a file outside the folder',
    files: files(indexOf({ cls_token: '../secret.safetensors' })),
    error: ['SOURCE_INDEX', /in the same folder/],
  },
  {
    name: 'an index that is not JSON',
    files: files(['model.safetensors.index.json', Buffer.from('{"weight_map": [')]),
    error: ['SOURCE_INDEX', /is not JSON/],
  },
];

/** Serves the file with a different ETag for each request that `changes` selects. */
export const changing = (changes: (asked: Asked) => boolean): Fault =>
  ofWeights((asked) => {
    const etag = changes(asked) ? `"v${asked.count}"` : '"last"';
    answer(asked, { etag });
    return true;
  });

const other = (bytes: Uint8Array): Uint8Array => bytes.map((byte) => byte ^ 1);
const later = (fault: (asked: Asked & { readonly range: readonly [number, number] }) => true): Fault =>
  ofWeights((asked) =>
    asked.range && asked.range[0] > 0 ? fault({ ...asked, range: asked.range }) : good(asked),
  );
/** The first part is correct; every later part has a Content-Encoding, under the same ETag. */
export const encodedLater: readonly (readonly [name: string, fault: Fault])[] = [
  // A proxy that compresses each response. fetch decompresses it.
  [
    'in gzip, part by part',
    later((asked) => {
      const [begin, end] = asked.range;
      return with206(
        asked,
        { 'content-encoding': 'gzip', 'content-range': `bytes ${begin}-${end - 1}/${asked.bytes.length}` },
        gzipSync(asked.bytes.subarray(begin, end), { level: 1 }),
      );
    }),
  ],
  // An encoding that fetch does not know, so it passes the body on unchanged: wrong bytes, and fewer of them.
  [
    'in another encoding, part by part',
    later((asked) => {
      const [begin, end] = asked.range;
      if (end - begin <= 100) return good(asked);
      return with206(
        asked,
        { 'content-encoding': 'x-other', 'content-range': `bytes ${begin}-${end - 1}/${asked.bytes.length}` },
        other(asked.bytes.subarray(begin, end - 100)),
      );
    }),
  ],
  [
    'in another encoding, all of it in one answer',
    later((asked) =>
      whole({ ...asked, bytes: other(asked.bytes) }, { etag: '"one"', 'content-encoding': 'x-other' }),
    ),
  ],
];

/** A different ETag in every response, and every response truncated. */
export const restless: Fault = ofWeights((asked) =>
  cut({ ...asked, range: undefined }, 700_000, { etag: `"v${asked.count}"` }),
);
