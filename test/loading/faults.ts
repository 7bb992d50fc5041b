/** What goes wrong between a server and a page, kind by kind, and how it has to end. */
import { gzipSync } from 'node:zlib';
import { answer, configFile, sha256, shardsOf, weightsFile, type Asked, type Fault } from './server.ts';

export interface FaultCase {
  readonly name: string;
  readonly fault?: Fault;
  readonly files?: () => Map<string, Uint8Array>;
  readonly integrity?: string;
  readonly stallMs?: number;
  /** The code of the error, and what its message says; undefined: the right bytes. */
  readonly error?: readonly [code: string, text: RegExp];
}

/** A fault of the weights alone. */
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
/** A thousand bytes that were asked for, and five thousand others. */
const tooMuch = (asked: Asked): true =>
  with206(
    asked,
    { 'content-range': `bytes ${asked.range![0]}-${asked.range![0] + 999}/${asked.bytes.length}` },
    Buffer.concat([asked.bytes.subarray(asked.range![0], asked.range![0] + 1000), Buffer.alloc(5000, 7)]),
  );
/** Sends the headers of a good answer, and a part of the body. */
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
  { name: 'none: several ranges at once' },
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
    name: 'the first part breaks off',
    fault: ofWeights((asked) => (asked.count === 0 ? cut(asked, 1000) : good(asked))),
  },
  {
    name: 'a later part breaks off',
    fault: ofWeights((asked) => (asked.count === 2 ? cut(asked, 300_000) : good(asked))),
  },
  {
    name: 'every third answer breaks off after 100 kB',
    fault: ofWeights((asked) => (asked.count % 3 === 2 ? cut(asked, 100_000) : good(asked))),
  },
  {
    name: 'a part breaks off where there are no ranges: what is known goes by again',
    fault: ofWeights((asked) =>
      asked.count === 0 ? cut({ ...asked, range: undefined }, 700_000) : whole(asked, { etag: '"one"' }),
    ),
  },
  {
    name: 'the connection is reset before an answer',
    fault: ofWeights((asked) => {
      if (asked.count > 1) return good(asked);
      asked.response.destroy();
      return true;
    }),
    error: ['SOURCE_FETCH', /expected an answer.*2 attempts failed/],
  },
  {
    name: 'the connection of a later part is reset before an answer',
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
    name: 'silence in mid-body',
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
    name: 'parts shorter than asked for',
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
    name: 'a part that brings more than it says, once',
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
    name: 'parts of what is compressed',
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
    name: 'a date in place of an ETag',
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
    name: 'a weak ETag: all in one answer',
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
    name: '200 to a later range, of the same version',
    fault: ofWeights((asked) => (asked.count === 2 ? whole(asked, { etag: '"one"' }) : good(asked))),
  },
  {
    name: 'a total that the server does not know',
    fault: ofWeights((asked) => {
      const [begin, end] = asked.range!;
      if (begin >= asked.bytes.length) return refuse(416)(asked);
      return with206(asked, { 'content-range': `bytes ${begin}-${end - 1}/*` });
    }),
  },
  {
    name: 'gzip, with the length of what is compressed',
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
    name: 'several files, of a bucket that answers 403 for what is not there',
    files: files(),
    fault: ofWeights(refuse(403)),
  },
  {
    name: 'several files, of a server that sends a page for what is not there',
    files: files(),
    fault: ofWeights(({ response }) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>');
      return true;
    }),
  },
  {
    name: 'several files, of which one breaks off',
    files: files(),
    fault: (asked) =>
      asked.name.startsWith('model-00002') &&
      asked.count === 1 &&
      cut(asked, 50_000, { etag: `"${sha256(asked.bytes).slice(0, 16)}"` }),
  },
  { name: 'a SHA-256 that is right', integrity: sha256(weightsFile) },
  {
    name: 'a SHA-256 that is right, and no way to tell versions apart',
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
  // What has to fail.
  {
    name: 'a SHA-256 of something else',
    integrity: 'ab'.repeat(32),
    error: ['SOURCE_INTEGRITY', /expected the SHA-256 abab/],
  },
  {
    name: '404',
    fault: ofWeights(refuse(404)),
    error: ['SOURCE_FETCH', /status 404.*there is no such file/],
  },
  {
    name: 'a page',
    fault: ofWeights(({ response }) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>');
      return true;
    }),
    error: ['SOURCE_IS_HTML', /content-type text\/html/],
  },
  {
    name: 'a page that does not say so',
    fault: ofWeights(({ response }) => {
      response.writeHead(200).end('<!doctype html><title>Log in</title>');
      return true;
    }),
    error: ['SOURCE_IS_HTML', /it begins with/],
  },
  {
    name: '500 for ever',
    fault: ofWeights(refuse(500)),
    error: ['SOURCE_FETCH', /status 500.*4 attempts failed/],
  },
  {
    name: 'Retry-After of an hour',
    fault: ofWeights(refuse(429, { 'retry-after': '3600' })),
    error: ['SOURCE_FETCH', /Try again in 3600 seconds/],
  },
  {
    name: 'a body that always breaks off',
    fault: ofWeights((asked) => cut(asked, 0)),
    error: ['SOURCE_TRUNCATED', /it ended early.*4 attempts failed/],
  },
  {
    name: 'parts that always bring more than they say',
    fault: ofWeights(tooMuch),
    error: ['SOURCE_FETCH', /expected bytes from 0 on, found more.*with other bytes.*4 attempts failed/],
  },
  {
    name: 'no way to tell versions apart, and a break',
    fault: ofWeights((asked) => cut({ ...asked, range: undefined }, 700_000, {})),
    error: ['SOURCE_TRUNCATED', /it ended early/],
  },
  { name: 'bytes behind the last tensor', files: longer, error: ['TRAILING_BYTES', /belong to nothing/] },
  {
    name: 'a file that ends before its header says',
    files: () =>
      new Map<string, Uint8Array>([
        ['config.json', configFile],
        ['model.safetensors', weightsFile.subarray(0, -1000)],
      ]),
    error: ['DATA_TRUNCATED', /the file ends before tensor/],
  },
  {
    name: 'a file of several that is missing',
    files: files(['model-00002-of-00003.safetensors', undefined]),
    error: ['SOURCE_FETCH', /model-00002-of-00003\.safetensors: expected the file.*404/],
  },
  {
    name: 'a file of several that is a page',
    files: files(['model-00003-of-00003.safetensors', Buffer.from('<!doctype html><p>Sign in')]),
    error: ['SOURCE_IS_HTML', /model-00003/],
  },
  {
    name: 'a file of several that is damaged',
    files: files(['model-00001-of-00003.safetensors', weightsFile.subarray(2)]),
    error: ['HEADER_TOO_LARGE', /model-00001/],
  },
  {
    name: 'an index that leads elsewhere',
    files: files(indexOf({ cls_token: '../secret.safetensors' })),
    error: ['SOURCE_INDEX', /in the same folder/],
  },
  {
    name: 'an index that is none',
    files: files(['model.safetensors.index.json', Buffer.from('{"weight_map": [')]),
    error: ['SOURCE_INDEX', /is not JSON/],
  },
];

/** Versions of the file that take turns. */
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
/**
 * What is not the beginning comes encoded, though nothing else of it says that it is another version, and the
 * beginning came as the file is.
 */
export const encodedLater: readonly (readonly [name: string, fault: Fault])[] = [
  // As a proxy does that compresses each answer on its way: fetch takes that off again.
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
  // An encoding that fetch does not know: what comes is handed on as it is, here other bytes, and fewer of
  // them. What is missing is asked for again.
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

/** Another version in every answer, and none of them whole. */
export const restless: Fault = ofWeights((asked) =>
  cut({ ...asked, range: undefined }, 700_000, { etag: `"v${asked.count}"` }),
);
