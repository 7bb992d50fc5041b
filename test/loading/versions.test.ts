// Parts of one file are combined only if they have the same version, and hashes are checked, within one load
// and across loads.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { parseSafetensors } from '../../src/safetensors.ts';
import type { TensorPiece, TensorStream } from '../../src/safetensors/tensorStream.ts';
import { pretrained } from '../../src/load/pretrained.ts';
import type { Checkpoint, OpenOptions } from '../../src/load/source.ts';

import { memoryStore, readThrough } from './memoryStore.ts';
import {
  configFile,
  openServer,
  sha256,
  shardsOf,
  weightsFile,
  type Fault,
  type TestServer,
} from './server.ts';

let server: TestServer;
beforeAll(async () => void (server = await openServer()));
afterAll(() => server.close());
afterEach(() => server.reset());

/** The weights file with one byte changed in its last third. */
const otherFile = Buffer.from(weightsFile);
otherFile[1_800_000]! ^= 1;

const open = async (
  options: Parameters<typeof pretrained>[1] = {},
  more: Partial<OpenOptions> = {},
): Promise<Checkpoint> =>
  (await pretrained(server.url, { retry: { attempts: 2, delayMs: 5 }, ...options })).open({
    signal: options.signal,
    onProgress: () => undefined,
    reload: false,
    whole: false,
    ...more,
  });

async function drain(stream: TensorStream): Promise<void> {
  for await (const piece of stream.pieces as AsyncIterable<TensorPiece>) void piece;
}

/** A server with ranges whose only version information is the given headers. */
const tells =
  (headers: (asked: Parameters<Fault>[0]) => Record<string, string>): Fault =>
  (asked) => {
    if (asked.name !== 'model.safetensors') return false;
    const { bytes, range, response } = asked;
    const [begin, end] = range ?? [0, bytes.length];
    response
      .writeHead(range ? 206 : 200, {
        'content-length': end - begin,
        ...(range ? { 'content-range': `bytes ${begin}-${end - 1}/${bytes.length}` } : {}),
        ...headers(asked),
      })
      .end(bytes.subarray(begin, end));
    return true;
  };

const failed = (reading: Promise<unknown>): Promise<unknown> =>
  reading.then(
    () => 'no error',
    (thrown: unknown) => thrown,
  );

describe('a load interrupted at any offset resumes with correct bytes', () => {
  test.each([
    ['three files', 3, false],
    ['three files, checked', 3, true],
  ] as const)('%s', async (_, count, checked) => {
    server.files = new Map<string, Uint8Array>([['config.json', configFile], ...shardsOf(count)]);
    const names = [...server.files.keys()].filter((name) => name.endsWith('.safetensors'));
    const integrity = checked
      ? Object.fromEntries(names.map((name) => [name, sha256(server.files.get(name)!)]))
      : {};
    const right = new Map(
      [...parseSafetensors(weightsFile).tensors].map(([name, { begin, end }]) => [
        name,
        sha256(weightsFile.subarray(begin, end)),
      ]),
    );
    for (let until = 0; until < weightsFile.length; until += 300_000) {
      const store = memoryStore();
      expect((await readThrough(store, server.url, { integrity }, until)).error).toBeDefined();
      const { entry, error, tensors } = await readThrough(store, server.url, { integrity });
      expect(error).toBeUndefined();
      expect(tensors).toEqual(right);
      if (until > 1_500_000) expect(entry.counts.cachedBytes).toBeGreaterThan(500_000); // each file is smaller than a block
      server.asked.length = 0;
      expect((await readThrough(store, server.url, { integrity })).tensors).toEqual(right);
      expect(server.asked).toEqual([]);
    }
  });
});

describe('Last-Modified as the version', () => {
  const LATER = { date: 'Wed, 01 Jan 2025 01:00:00 GMT', 'last-modified': 'Wed, 01 Jan 2025 00:00:00 GMT' };

  test('is not trusted if weak ETags differ', async () => {
    server.fault = tells(({ count }) => ({ ...LATER, etag: `W/"${count < 2 ? 'one' : 'two'}"` }));
    expect(await failed(open().then(({ stream }) => drain(stream)))).toMatchObject({
      code: 'SOURCE_CHANGED',
    });
    server.reset();
    server.fault = tells(() => ({ ...LATER, etag: 'W/"one"' }));
    await drain((await open()).stream);
    expect(server.asked.length).toBeGreaterThan(3);
  });

  test('is not trusted if the response has the same date', async () => {
    server.fault = tells(() => ({ date: LATER.date, 'last-modified': LATER.date }));
    await drain((await open()).stream);
    expect(server.asked.filter((line) => line.startsWith('model.'))).toEqual([
      'model.safetensors bytes=0-524287',
      'model.safetensors whole',
    ]);
  });
});

describe('integrity', () => {
  const hash = sha256(weightsFile);

  const inShards = (): void => {
    server.files = new Map<string, Uint8Array>([['config.json', configFile], ...shardsOf(3)]);
  };

  test.each([
    ['of one file for a checkpoint of several', 3, hash],
    ['for a name that is not one of its files', 1, { 'model.safetensor': hash }],
    ['for an additional file', 1, { 'model.safetensors': hash, 'model-00001-of-00002.safetensors': hash }],
  ] as const)('an unused hash is an error: %s', async (_, files, integrity) => {
    if (files > 1) inShards();
    expect(await failed(open({ integrity }).then(({ stream }) => drain(stream)))).toMatchObject({
      code: 'SOURCE_INTEGRITY',
      message: expect.stringMatching(
        /^integrity: a hash is given for .*, which this load does not read/,
      ) as string,
    });
  });

  test('hashes of config.json and of the index are checked', async () => {
    await drain((await open({ integrity: { 'config.json': sha256(configFile) } })).stream);
    expect(await failed(open({ integrity: { 'config.json': hash } }))).toMatchObject({
      code: 'SOURCE_INTEGRITY',
      message: expect.stringMatching(/config\.json: expected the SHA-256/) as string,
    });
    inShards();
    const index = 'model.safetensors.index.json';
    await drain((await open({ integrity: { [index]: sha256(server.files.get(index)!) } })).stream);
    expect(await failed(open({ integrity: { [index]: hash } }))).toMatchObject({ code: 'SOURCE_INTEGRITY' });
  });
});

test('a local folder may contain a checkpoint in several files', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'shards-'));
  try {
    writeFileSync(join(folder, 'config.json'), configFile);
    await expect(
      (await pretrained(folder, {})).open({ onProgress: () => undefined, reload: false, whole: false }),
    ).rejects.toMatchObject({
      code: 'SOURCE_READ',
      message: expect.stringMatching(/model\.safetensors: the file cannot be read: .*ENOENT/) as string,
    });
    for (const [name, bytes] of shardsOf(3)) writeFileSync(join(folder, name), bytes);
    const { stream } = await (
      await pretrained(folder, {})
    ).open({
      onProgress: () => undefined,
      reload: false,
      whole: false,
    });
    await drain(stream);
    expect(stream.header.tensors.size).toBe(parseSafetensors(weightsFile).tensors.size);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a revision for a folder URL is an error', async () => {
  await expect(pretrained('https://example.org/models/small/', { revision: 'v2' })).rejects.toThrow(
    expect.objectContaining({
      code: 'SOURCE_URL',
      message: expect.stringMatching(/the option revision \(v2\) works with a hub id only/) as string,
    }),
  );
  expect((await pretrained('a/b', { revision: 'refs/pr/2' })).cache?.folder).toBe(
    'https://huggingface.co/a/b/resolve/refs%2Fpr%2F2/',
  );
});
