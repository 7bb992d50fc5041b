// Folders without model.safetensors: the error names the weight files of other formats and how to convert
// them.
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { SourceError } from '../../src/errors.ts';
import { pretrained } from '../../src/load/pretrained.ts';
import type { Checkpoint } from '../../src/load/source.ts';
import type { PretrainedOptions } from '../../src/options.ts';
import { answer, configFile, openServer, weightsFile, type TestServer } from './server.ts';

let server: TestServer;
beforeAll(async () => void (server = await openServer()));
afterAll(() => server.close());
afterEach(() => server.reset());

const open = async (folder: string, options: PretrainedOptions = {}): Promise<Checkpoint> =>
  (await pretrained(folder, { retry: { attempts: 1 }, ...options })).open({
    signal: options.signal,
    onProgress: () => undefined,
    reload: false,
    whole: false,
  });

async function refusal(folder: string): Promise<SourceError> {
  const error = await open(folder).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SourceError);
  return error as SourceError;
}

const advice: readonly [file: string, message: RegExp][] = [
  [
    'pytorch_model.bin',
    /found pytorch_model\.bin, .*torch\.load\('pytorch_model\.bin'.*save_file\(.*'model\.safetensors'/,
  ],
  ['pytorch_model.bin.index.json', /several files in PyTorch's own format.*save_pretrained/],
  ['onnx/model.onnx', /found onnx\/model\.onnx, .*save_pretrained\('folder'\)/],
  ['model.onnx', /found model\.onnx, /],
  ['adapter_model.safetensors', /needs its base model.*merge_and_unload\(\)/],
];

test.each(advice)('a repository with only %s', async (file, message) => {
  for (const config of [true, false]) {
    server.files = new Map([[file, new Uint8Array(4)]]);
    if (config) server.files.set('config.json', configFile);
    const error = await refusal(server.url);
    expect(error.message).toMatch(/expected model\.safetensors or model\.safetensors\.index\.json, found /);
    expect(error.message).toMatch(message);
    expect(error).toMatchObject({ code: 'SOURCE_FETCH', status: 404 });
  }
});

test.each(advice)('a local folder with only %s', async (file, message) => {
  const folder = mkdtempSync(join(tmpdir(), 'formats-'));
  try {
    mkdirSync(join(folder, 'onnx'));
    writeFileSync(join(folder, 'config.json'), configFile);
    writeFileSync(join(folder, file), 'x');
    expect((await refusal(folder)).message).toMatch(message);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a site that answers every URL with a web page has none of these files', async () => {
  server.files = new Map([['config.json', configFile]]);
  server.fault = ({ name, response }) => {
    if (name === 'config.json') return false;
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>App</title>');
    return true;
  };
  expect((await refusal(server.url)).code).toBe('SOURCE_IS_HTML');
});

test('no other format either: the error is that of the missing file', async () => {
  server.files = new Map([['config.json', configFile]]);
  expect((await refusal(server.url)).message).toMatch(/model\.safetensors: .*404.*no such file/);
});

test('weights without config.json: the configuration comes from the tensors', async () => {
  server.files = new Map<string, Uint8Array>([
    ['model.safetensors', weightsFile],
    ['pytorch_model.bin', new Uint8Array(4)],
  ]);
  const { config, uncachedReason, stream } = await open(server.url);
  expect(config).toBeUndefined();
  expect(uncachedReason).toBeUndefined();
  expect(stream.header.tensors.size).toBeGreaterThan(0);
  await stream.cancel();
});

test('a config.json that is forbidden, or missing although a hash was given, is an error', async () => {
  server.files = new Map<string, Uint8Array>([['model.safetensors', weightsFile]]);
  server.fault = ({ name, response }) => {
    if (name !== 'config.json') return false;
    response.writeHead(403).end();
    return true;
  };
  await expect(open(server.url)).rejects.toMatchObject({ code: 'SOURCE_FETCH', status: 403 });
  server.fault = () => false;
  await expect(open(server.url, { integrity: { 'config.json': '0'.repeat(64) } })).rejects.toMatchObject({
    status: 404,
  });
});

test('a successful load requests no files of other formats', async () => {
  server.fault = (asked) => {
    if (asked.request.method === 'HEAD') throw new Error('unexpected HEAD request');
    if (!server.files.has(asked.name)) return false;
    answer(asked);
    return true;
  };
  const { stream } = await (
    await pretrained(server.url, {})
  ).open({
    onProgress: () => undefined,
    reload: false,
    whole: false,
  });
  await stream.cancel();
  expect(server.asked.some((line) => /bin|onnx|adapter/.test(line))).toBe(false);
});
