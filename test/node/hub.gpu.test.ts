// fromPretrained in Node: the hub with redirects and a token, this library's cache, and Python's cache.
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { listCached, removeCached } from '../../src/cache/cachedModels.ts';
import { DINOv2 } from '../../src/dinov2.ts';
import { nodeHost } from '../../src/node/nodeHost.ts';
import type { PretrainedOptions } from '../../src/options.ts';
import { host } from '../../src/platform/host.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { configFile, weightsFile } from '../loading/server.ts';

const ID = 'owner/tiny';
const COMMIT = '0123456789abcdef0123456789abcdef01234567';
let folder: string;
let hub: Server;
let storage: Server;
/** Every request: server, path, authorization. */
let asked: { where: string; path: string; authorization: string | undefined }[];
const files = new Map<string, Uint8Array>([
  ['config.json', configFile],
  ['model.safetensors', weightsFile],
]);
let token: string | undefined;

const note = (where: string, path: string, { authorization }: IncomingHttpHeaders): void =>
  void asked.push({ where, path, authorization });
const addressOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const namesOf = (where: string): string[] =>
  [
    ...new Set(asked.filter((each) => each.where === where).map(({ path }) => path.split('/').at(-1)!)),
  ].sort();

beforeAll(async () => {
  storage = createServer((request, response) => {
    note('storage', request.url!, request.headers);
    const file = files.get(request.url!.slice(1))!;
    const [, begin, end] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
    const from = Number(begin ?? 0);
    const to = Math.min(end ? Number(end) + 1 : file.length, file.length);
    const headers = { etag: '"one"', 'content-length': to - from };
    response.writeHead(begin === undefined ? 200 : 206, {
      ...headers,
      ...(begin !== undefined && { 'content-range': `bytes ${from}-${to - 1}/${file.length}` }),
    });
    response.end(file.subarray(from, to));
  });
  hub = createServer((request, response) => {
    note('hub', request.url!, request.headers);
    const name = request.url!.split('/').at(-1)!;
    if (token !== undefined && request.headers.authorization !== `Bearer ${token}`)
      return void response.writeHead(401).end();
    if (!files.has(name)) return void response.writeHead(404).end();
    return void response.writeHead(302, { location: `${addressOf(storage)}/${name}` }).end();
  });
  for (const server of [hub, storage]) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  }
  const { openStore, lock, pretrained } = nodeHost;
  Object.assign(host, { openStore, lock, pretrained });
});
afterAll(() => {
  for (const name of ['openStore', 'lock', 'pretrained'] as const) delete host[name];
  for (const server of [hub, storage]) {
    server.closeAllConnections();
    server.close();
  }
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hub-'));
  asked = [];
  token = undefined;
  vi.stubEnv('HF_ENDPOINT', addressOf(hub));
  vi.stubEnv('HF_HOME', join(folder, 'python'));
  vi.stubEnv('XDG_CACHE_HOME', join(folder, 'cache'));
  for (const name of ['HF_HUB_CACHE', 'HF_TOKEN', 'HF_HUB_OFFLINE']) vi.stubEnv(name, undefined);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

async function load(options: PretrainedOptions = {}): Promise<DINOv2['loaded']> {
  const device = await sharedDevice();
  const model = await DINOv2.fromPretrained(ID, {
    device,
    selfTest: false,
    retry: { attempts: 1 },
    ...options,
  });
  model.dispose();
  return model.loaded;
}

/** Writes a repository into Python's cache, as huggingface_hub does: a link for each file. */
function putInPythonsCache(names: readonly string[], absent: readonly string[] = []): void {
  const repository = join(folder, 'python/hub/models--owner--tiny');
  for (const path of ['refs', 'blobs', `snapshots/${COMMIT}`, `.no_exist/${COMMIT}`])
    mkdirSync(join(repository, path), { recursive: true });
  writeFileSync(join(repository, 'refs/main'), COMMIT);
  for (const name of names) {
    writeFileSync(join(repository, 'blobs', `of-${name}`), files.get(name)!);
    symlinkSync(`../../blobs/of-${name}`, join(repository, `snapshots/${COMMIT}`, name));
  }
  for (const name of absent) writeFileSync(join(repository, `.no_exist/${COMMIT}`, name), '');
}

test('a download is kept on disk: the second load makes no request, and listing and removing work', async () => {
  expect(await load()).toMatchObject({ fetchedBytes: weightsFile.length, cache: 'folder' });
  expect(namesOf('hub')).toEqual(['config.json', 'model.safetensors', 'preprocessor_config.json']);
  asked = [];
  expect(await load()).toMatchObject({ fetchedBytes: 0, cachedBytes: weightsFile.length, cache: 'folder' });
  vi.stubEnv('HF_HUB_OFFLINE', '1');
  expect(await load()).toMatchObject({ fetchedBytes: 0 });
  expect(asked).toEqual([]);
  expect(readdirSync(join(folder, 'cache/dinov2-webgpu')).sort()).toEqual(['locks', 'models']);
  expect(await listCached()).toMatchObject([
    { id: ID, bytes: weightsFile.length, complete: true, store: 'folder' },
  ]);
  expect(await removeCached(ID)).toBe(1);
  expect(await listCached()).toEqual([]);
});

test('cache: none writes nothing, and a folder that cannot be written is no error', async () => {
  expect(await load({ cache: 'none' })).toMatchObject({ cache: 'none' });
  expect(existsSync(join(folder, 'cache'))).toBe(false);
  writeFileSync(join(folder, 'file'), '');
  vi.stubEnv('XDG_CACHE_HOME', join(folder, 'file'));
  expect(await load()).toMatchObject({ cache: 'none', fetchedBytes: weightsFile.length });
});

test('HF_TOKEN goes to the hub, and not to the host to which the hub redirects', async () => {
  token = 'hf_secret';
  await expect(load()).rejects.toThrow(/status 401.*the variable HF_TOKEN holds the token/);
  vi.stubEnv('HF_TOKEN', 'hf_wrong');
  await expect(load()).rejects.toThrow(/status 401.*The variable HF_TOKEN is set: check/);
  vi.stubEnv('HF_TOKEN', 'hf_secret\n');
  expect(await load()).toMatchObject({ fetchedBytes: weightsFile.length });
  expect(namesOf('storage')).toEqual(['config.json', 'model.safetensors']);
  expect(asked.filter(({ where, authorization }) => where === 'storage' && authorization)).toEqual([]);
  asked = [];
  await expect(load({ baseUrl: addressOf(hub), cache: 'none' })).rejects.toThrow(/status 401/);
  expect(asked.some(({ authorization }) => authorization)).toBe(false);
});

test("Python's cache is read, and nothing is requested or written", async () => {
  putInPythonsCache(['config.json', 'model.safetensors'], ['preprocessor_config.json']);
  const loaded = await load();
  expect(loaded).toMatchObject({ fetchedBytes: 0, cachedBytes: weightsFile.length, cache: 'none' });
  expect(loaded.cacheReason).toContain(join(folder, 'python/hub'));
  expect(asked).toEqual([]);
  expect(existsSync(join(folder, 'cache'))).toBe(false);
  expect(await load({ revision: COMMIT })).toMatchObject({ fetchedBytes: 0 });
  await expect(load({ revision: 'other' })).resolves.toMatchObject({ fetchedBytes: weightsFile.length });
});

test("Python's cache is read, whatever way the address of the hub is written", async () => {
  putInPythonsCache(['config.json', 'model.safetensors'], ['preprocessor_config.json']);
  for (const endpoint of ['https://huggingface.co:443', 'HTTPS://HuggingFace.co/', 'http://LOCALHOST:80//']) {
    vi.stubEnv('HF_ENDPOINT', endpoint);
    const { cacheReason, fetchedBytes } = await load({ fetch: () => Promise.reject(new Error('requested')) });
    expect([fetchedBytes, cacheReason]).toEqual([0, expect.stringContaining(join(folder, 'python/hub'))]);
  }
});

test("what is loaded again from Python's cache counts as read from a cache, too", async () => {
  putInPythonsCache(['model.safetensors']);
  const report = { fetchedBytes: 7, cachedBytes: 0, cacheReason: '' };
  interface Fake {
    readonly report: typeof report;
    readonly reload: () => Promise<Fake>;
  }
  const load = async (): Promise<Fake> => ({ report, reload: load });
  const again = await (await nodeHost.pretrained!(ID, {}, load)).reload();
  expect((await again.reload()).report).toMatchObject({ fetchedBytes: 0, cachedBytes: 7 });
});

test("files that Python's cache does not know are requested, never assumed to be missing", async () => {
  putInPythonsCache(['config.json', 'model.safetensors']);
  files.set('preprocessor_config.json', new TextEncoder().encode('{"image_mean":[0.5,0.5,0.5]}'));
  try {
    const device = await sharedDevice();
    const model = await DINOv2.fromPretrained(ID, { device, selfTest: false });
    expect(model.preprocessing).toMatchObject({ source: 'preprocessor_config.json' });
    model.dispose();
    expect(asked.filter(({ where }) => where === 'hub').map(({ path }) => path)).toEqual([
      `/${ID}/resolve/${COMMIT}/preprocessor_config.json`,
    ]);
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    await expect(load()).rejects.toThrow(
      /preprocessor_config\.json: the file is in no cache, and the variable HF_HUB_OFFLINE forbids.*preprocessor: null/,
    );
  } finally {
    files.delete('preprocessor_config.json');
  }
  expect(await load({ preprocessor: null })).toMatchObject({ fetchedBytes: 0 });
});

test("an incomplete repository in Python's cache is not used", async () => {
  putInPythonsCache(['config.json']);
  expect(await load()).toMatchObject({ fetchedBytes: weightsFile.length, cache: 'folder' });
});

test('offline without the files: the error names the variable', async () => {
  vi.stubEnv('HF_HUB_OFFLINE', '1');
  await expect(load()).rejects.toThrow(
    /config\.json: the file is in no cache, and the variable HF_HUB_OFFLINE/,
  );
  expect(asked).toEqual([]);
  vi.stubEnv('HF_ENDPOINT', 'nonsense');
  await expect(load()).rejects.toThrow(/^HF_ENDPOINT: expected an http or https URL/);
});

test('without a network, the error has the reason and advice for Node', async () => {
  vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:1'); // fetch refuses this port
  await expect(load()).rejects.toThrow(
    /^http:\/\/127\.0\.0\.1:1\/.*: the request failed \(bad port\)\. Check the network\. The variable HF_ENDPOINT /,
  );
});

test('a folder on disk needs no hub', async () => {
  cpSync(join(import.meta.dirname, '../fixtures/reference/tiny-plain'), join(folder, 'tiny'), {
    recursive: true,
  });
  vi.stubEnv('HF_HUB_OFFLINE', '1');
  const model = await DINOv2.fromPretrained(join(folder, 'tiny'), {
    device: await sharedDevice(),
    selfTest: false,
  });
  model.dispose();
  expect(asked).toEqual([]);
});
