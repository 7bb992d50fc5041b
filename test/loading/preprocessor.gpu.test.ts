// preprocessor_config.json determines the pixels for every kind of source, compared with class tokens
// computed in Python. Also: a missing file, and an unreadable one.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import { DEFAULT_PREPROCESSING, type Preprocessing } from '../../src/image/preprocessing.ts';
import type { ModelFiles, PretrainedOptions } from '../../src/options.ts';
import { full } from '../full.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { caseOf, cosine, photoPath, preprocessorCases, textOf } from './preprocessors.ts';
import { configFile, openServer, sha256, weightsFile, type TestServer } from './server.ts';

const NAME = 'preprocessor_config.json';
const photo = new Blob([readFileSync(photoPath)]);
const configJson = JSON.parse(configFile.toString()) as object;
const bytesOf = (value: unknown): Uint8Array =>
  new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));

let server: TestServer;
let device: GPUDevice;
let folder: string;
beforeAll(async () => {
  [server, device] = await Promise.all([openServer(), sharedDevice()]);
  folder = mkdtempSync(join(tmpdir(), 'preprocessor-'));
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await server.close();
});
afterEach(() => server.reset());

interface Seen {
  readonly preprocessing: Preprocessing;
  readonly vector: Float32Array;
  readonly sizes: readonly [number, number];
}

/** Preprocesses and embeds the photograph with a model. */
async function look(loading: Promise<DINOv2>): Promise<Seen> {
  const model = await loading;
  try {
    const { preprocessing } = model;
    const { height, width } = await model.pixels(photo);
    return { preprocessing, vector: await model.embed(photo), sizes: [height, width] };
  } finally {
    model.dispose();
  }
}

/** What a model would make of any image: enough where its vector is compared elsewhere, and without a forward. */
async function preprocessingOf(loading: Promise<DINOv2>): Promise<Preprocessing> {
  using model = await loading;
  return model.preprocessing;
}

const options = { selfTest: false, retry: { attempts: 2, delayMs: 5 } } as const;
const pretrained = (more: PretrainedOptions = {}, id = server.url): Promise<DINOv2> =>
  DINOv2.fromPretrained(id, { ...options, device, ...more });
const fromServer = (more?: PretrainedOptions, id?: string): Promise<Seen> => look(pretrained(more, id));
const fromFiles = (files: Partial<ModelFiles>): Promise<Seen> =>
  look(DINOv2.fromFiles({ config: configJson, weights: weightsFile, ...files }, { selfTest: false, device }));
const errorOf = (loading: Promise<unknown>): Promise<Error & { code: string }> =>
  loading.then(
    () => {
      throw new Error('expected an error, found none');
    },
    (error: unknown) => error as Error & { code: string },
  );

/** The preprocessing of the case `half`. Its expected vector comes from Python. */
const half: Preprocessing = {
  ...DEFAULT_PREPROCESSING,
  source: NAME,
  normalization: { ...DEFAULT_PREPROCESSING.normalization, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
};

describe("the class token equals Python's", () => {
  test.each(full ? preprocessorCases : preprocessorCases.slice(0, 3))(
    '$name',
    async ({ preprocessor, cls, pixels }) => {
      server.files.set(NAME, bytesOf(preprocessor));
      const { vector, sizes, preprocessing } = await fromServer();
      expect(preprocessing.source).toBe(NAME);
      expect(1 - cosine(vector, cls)).toBeLessThan(1e-6);
      expect(sizes).toEqual(pixels);
    },
  );

  test('from the Hub, from a local folder, and from files in every form', async () => {
    const { preprocessor, cls } = caseOf('half');
    const text = textOf('half');
    server.fault = ({ name, request, response }) => {
      const file = /^a\/b\/resolve\/v1\/(.*)$/.exec(name)?.[1];
      const bytes = file === NAME ? bytesOf(text) : server.files.get(file ?? '');
      if (!bytes || request.headers.range) return false;
      return !!response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
    };
    const weightsOfHub: typeof fetch = (input, init) =>
      fetch(String(input).endsWith('.safetensors') ? `${server.url}model.safetensors` : input, init);
    const own = join(folder, 'own');
    mkdirSync(own);
    for (const [file, bytes] of [...server.files, [NAME, bytesOf(text)] as const])
      writeFileSync(join(own, file), bytes);
    const found = [
      await fromServer({ baseUrl: server.url, revision: 'v1', fetch: weightsOfHub }, 'a/b'),
      await fromServer({}, own),
      await fromFiles({ preprocessor }),
      await fromFiles({ preprocessor: new Blob([text]) }),
      await fromFiles({ preprocessor, config: undefined }),
    ];
    for (const { vector, preprocessing } of found) {
      expect(preprocessing).toEqual(half);
      expect(1 - cosine(vector, cls)).toBeLessThan(1e-6);
    }
  });
});

describe('a checkpoint without the file', () => {
  const isDefault = ({ vector, preprocessing }: Seen): void => {
    expect(preprocessing).toEqual(DEFAULT_PREPROCESSING);
    expect(1 - cosine(vector, caseOf('default').cls)).toBeLessThan(1e-6);
  };

  test.each([
    ['404', 404, {}, 'not found'],
    ['410', 410, {}, ''],
    ['403, of a bucket that may not be listed', 403, { 'content-type': 'application/xml' }, '<Error/>'],
    ['a web page', 200, { 'content-type': 'text/html' }, '<!doctype html><title>app</title>'],
    ['a web page without its content type', 200, {}, '<!doctype html><title>app</title>'],
  ] as const)('%s: the default', async (_, status, headers, body) => {
    server.fault = ({ name, response }) => name === NAME && !!response.writeHead(status, headers).end(body);
    isDefault(await fromServer());
  });

  test('a local folder, and files: the default', async () => {
    const bare = join(folder, 'bare');
    mkdirSync(bare);
    for (const [file, bytes] of server.files) writeFileSync(join(bare, file), bytes);
    isDefault(await fromServer({}, bare));
    isDefault(await fromFiles({}));
    isDefault(await fromFiles({ config: undefined }));
    isDefault(await fromFiles({ preprocessor: null }));
  });

  test("timm's config.json applies; the file overrides it, and null overrides both", async () => {
    const cfg = { input_size: [3, 98, 98], mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25], crop_pct: 1 };
    const config = { ...configJson, pretrained_cfg: cfg };
    server.files.set('config.json', bytesOf(config));
    const seen = await fromServer();
    expect(seen.preprocessing).toMatchObject({
      source: 'config.json',
      convention: 'timm',
      normalization: { mean: cfg.mean, std: cfg.std },
    });
    expect(seen.sizes).toEqual([98, 98]);
    expect((await fromFiles({ config })).vector).toEqual(seen.vector);
    isDefault(await fromServer({ preprocessor: null }));
    isDefault(await fromFiles({ config, preprocessor: null }));
    server.files.set(NAME, bytesOf(textOf('half')));
    expect((await preprocessingOf(pretrained())).source).toBe(NAME);
  });
});

describe('a file that exists but cannot be used', () => {
  test.each([
    ['status 500', 500, '', 'SOURCE_FETCH', /preprocessor_config\.json.*status 500.*preprocessor: null/],
    ['401', 401, '', 'SOURCE_FETCH', /preprocessor_config\.json.*status 401/],
    ['truncated JSON', 200, '{"size": ', 'CONFIG_JSON', /^preprocessor_config\.json: expected JSON/],
    ['an empty file', 200, '', 'CONFIG_JSON', /^preprocessor_config\.json: expected JSON/],
    ['no object', 200, 'null', 'CONFIG_JSON', /^preprocessor_config\.json: expected an object/],
    ['a list', 200, '[1]', 'CONFIG_JSON', /^preprocessor_config\.json: expected an object/],
    ['a wrong value', 200, '{"image_mean": ["a"]}', 'CONFIG_FIELD', /preprocessor_config\.json.*image_mean/],
    [
      'an unsupported processor class',
      200,
      '{"image_processor_type": "SamImageProcessor"}',
      'CONFIG_UNSUPPORTED',
      /SamImageProcessor.*preprocessor: \{/,
    ],
    ['a file that is too long', 200, ' '.repeat(2 ** 20 + 1), 'SOURCE_TOO_LONG', /preprocessor_config\.json/],
  ] as const)('fails the load: %s', async (_, status, body, code, message) => {
    server.fault = ({ name, response }) => name === NAME && !!response.writeHead(status).end(body);
    expect(await errorOf(fromServer())).toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
    // The caller's preprocessor replaces the file, and null replaces it with the default.
    server.fault = ({ name, response }) => name === NAME && !!response.writeHead(status).end(body);
    expect(await preprocessingOf(pretrained({ preprocessor: null }))).toEqual(DEFAULT_PREPROCESSING);
    expect(await preprocessingOf(pretrained({ preprocessor: caseOf('half').preprocessor }))).toEqual(half);
  });

  test('a broken connection, and a local folder named like the file', async () => {
    server.fault = ({ name, response }) => name === NAME && !!response.destroy();
    expect(await errorOf(fromServer())).toMatchObject({ code: 'SOURCE_FETCH' });
    const odd = join(folder, 'odd');
    mkdirSync(join(odd, NAME), { recursive: true });
    for (const [file, bytes] of server.files) writeFileSync(join(odd, file), bytes);
    expect(await errorOf(fromServer({}, odd))).toMatchObject({ code: 'SOURCE_READ' });
  });

  test('an invalid value from the caller is refused before any request', async () => {
    const wrong = { image_processor_type: 'SamImageProcessor' };
    expect(await errorOf(fromServer({ preprocessor: wrong }))).toMatchObject({ code: 'CONFIG_UNSUPPORTED' });
    expect(server.asked).toEqual([]);
    expect(await errorOf(fromFiles({ preprocessor: wrong }))).toMatchObject({ code: 'CONFIG_UNSUPPORTED' });
    expect(await errorOf(fromFiles({ preprocessor: new Blob(['null']) }))).toMatchObject({
      code: 'CONFIG_JSON',
    });
  });

  test('its hash is checked; a hash for a missing or unused file is an error', async () => {
    const file = bytesOf(textOf('half'));
    const integrity = { [NAME]: sha256(file) };
    expect(await errorOf(fromServer({ integrity }))).toMatchObject({ code: 'SOURCE_INTEGRITY' });
    server.files.set(NAME, file);
    expect((await preprocessingOf(pretrained({ integrity }))).source).toBe(NAME);
    server.files.set(NAME, bytesOf(`${textOf('half')} `));
    for (const preprocessor of [undefined, null])
      expect(await errorOf(fromServer({ integrity, preprocessor }))).toMatchObject({
        code: 'SOURCE_INTEGRITY',
      });
  });
});

test('the file downloads in parallel: its response is held back until the weights are requested', async () => {
  let asked!: () => void;
  const weightsAsked = new Promise<void>((resolve) => (asked = resolve));
  server.files.set(NAME, bytesOf(textOf('half')));
  server.fault = async ({ name }) => {
    if (name === 'model.safetensors') asked();
    if (name === NAME) await weightsAsked;
    return false;
  };
  expect((await preprocessingOf(pretrained())).source).toBe(NAME);
  expect(server.asked.slice(0, 2).sort()).toEqual(['config.json whole', `${NAME} whole`]);
});

test('a load that fails for another reason cancels the request', async () => {
  let closed!: () => void;
  const ended = new Promise<void>((resolve) => (closed = resolve));
  server.fault = ({ name, request, response }) => {
    if (name === 'config.json') return !!response.writeHead(403).end();
    if (name === NAME) request.once('close', closed);
    return name === NAME; // never responds
  };
  expect(await errorOf(fromServer())).toMatchObject({
    code: 'SOURCE_FETCH',
    message: expect.stringContaining('config.json') as string,
  });
  await ended;
});
