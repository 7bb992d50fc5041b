// The faults of faults.ts up to the loaded model: correct numbers or an error, and no buffer left on the GPU.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import { full } from '../full.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { bitsOfForward, settled } from '../gpu/tiny.ts';
import { changing, encodedLater, faults, restless } from './faults.ts';
import { configFile, openServer, shardsOf, weightsFile, type TestServer } from './server.ts';

const device = await sharedDevice();
const gpu = await acquireGpu(device);
let server: TestServer;
let right: Uint32Array;
let resting: number;
beforeAll(async () => {
  server = await openServer();
  const model = await DINOv2.fromFiles(
    { config: configFile.toString(), weights: weightsFile },
    { device, selfTest: false },
  );
  right = await bitsOfForward(model, 28, 28);
  model.dispose();
  await settled();
  resting = gpu.memory.buffers;
});
afterAll(() => server.close());
afterEach(() => server.reset());

const load = (options: Parameters<typeof DINOv2.fromPretrained>[1] = {}): Promise<DINOv2> =>
  DINOv2.fromPretrained(server.url, {
    device,
    selfTest: false,
    retry: { attempts: 4, delayMs: 5 },
    ...options,
  });

async function loadsRight(options?: Parameters<typeof load>[0]): Promise<DINOv2['loaded']> {
  const model = await load(options);
  expect(await bitsOfForward(model, 28, 28)).toEqual(right);
  model.dispose();
  await expect.poll(() => gpu.memory.buffers).toBe(resting);
  return model.loaded;
}

describe('a model from a server', () => {
  test.each(faults)('$name', async ({ fault, files, integrity, stallMs, error }) => {
    if (fault) server.fault = fault;
    if (files) server.files = files();
    const options = {
      integrity,
      retry: { attempts: 4, delayMs: 5, ...(stallMs === undefined ? {} : { stallMs }) },
    };
    if (!error) {
      await loadsRight(options);
      return;
    }
    await expect(load(options)).rejects.toMatchObject({
      code: error[0],
      message: expect.stringMatching(error[1]) as string,
    });
    expect(gpu.memory.buffers).toBe(resting);
  });

  test('restarts from the beginning if the file changes during the download', async () => {
    server.fault = changing(({ count }) => count < 2);
    expect((await loadsRight()).fetchedBytes).toBe(weightsFile.length);
  });

  test('loads in one response if every part has a different ETag, as behind unsynchronized mirrors', async () => {
    server.fault = changing(() => true);
    expect((await loadsRight()).fetchedBytes).toBe(weightsFile.length);
    expect(server.asked).toContain('model.safetensors whole');
    server.asked.length = 0;
    const model = await DINOv2.fromFiles(
      { weights: `${server.url}model.safetensors` },
      { device, selfTest: false },
    );
    expect(await bitsOfForward(model, 28, 28)).toEqual(right);
    model.dispose();
    expect(server.asked).toContain('model.safetensors whole');
  });

  test.each(encodedLater)('restarts from the beginning if the file continues %s', async (_, fault) => {
    server.fault = fault;
    await loadsRight();
  });

  test('gives up if the file changes with every request', async () => {
    server.fault = restless;
    await expect(load()).rejects.toMatchObject({ code: 'SOURCE_CHANGED' });
    expect(gpu.memory.buffers).toBe(resting);
  });

  test('an abort at any request leaves no buffer', async () => {
    for (let at = 0; at < 6; at++) {
      server.reset();
      const controller = new AbortController();
      let asked = 0;
      server.fault = () => {
        if (asked++ === at) controller.abort(new Error('enough'));
        return false;
      };
      await load({ signal: controller.signal }).then(
        (model) => model.dispose(),
        (error: Error) => expect(error.message).toBe('enough'),
      );
      await expect.poll(() => gpu.memory.buffers).toBe(resting);
    }
  });

  test('in Node nothing is cached, and the report says so', async () => {
    expect(await loadsRight()).toMatchObject({
      cache: 'none',
      cachedBytes: 0,
      cacheReason: expect.stringMatching(/missing/) as string,
    });
  });
});

describe('local files', () => {
  test('several shards, in any order', async () => {
    const shards = [...shardsOf(4)]
      .filter(([name]) => name.endsWith('.safetensors'))
      .map(([name, bytes]) => new File([bytes as Uint8Array<ArrayBuffer>], name));
    const model = await DINOv2.fromFiles(
      { config: configFile.toString(), weights: shards.reverse() },
      { device, selfTest: false },
    );
    expect(await bitsOfForward(model, 28, 28)).toEqual(right);
    model.dispose();
  });

  test('a shard given twice', async () => {
    const shards = [...shardsOf(2).values()].slice(0, 2);
    await expect(
      DINOv2.fromFiles(
        { config: configFile.toString(), weights: [...shards, shards[0]!] },
        { device, selfTest: false },
      ),
    ).rejects.toMatchObject({
      code: 'SOURCE_INDEX',
      message: expect.stringMatching(/in one file, found .* in file 1 and in file 3/) as string,
    });
    await expect.poll(() => gpu.memory.buffers).toBe(resting);
  });

  test('a local folder', async () => {
    const model = await DINOv2.fromPretrained('./test/fixtures/reference/tiny-plain', {
      device,
      selfTest: false,
    });
    expect(await bitsOfForward(model, 28, 28)).toEqual(right);
    expect(model.loaded.fetchedBytes).toBe(0);
    model.dispose();
  });
});

test('a model takes at most 1.05 × its packed weights on the GPU', async () => {
  const packed = { fp32: 88.2e6, fp16: 44.1e6, int8: 22.1e6 };
  for (const dtype of full ? (['fp32', 'int8'] as const) : (['int8'] as const)) {
    const before = gpu.memory.bytes;
    const model = await DINOv2.synthetic('small', { device, dtype, selfTest: false });
    expect(gpu.memory.bytes - before).toBeLessThan(1.05 * packed[dtype]);
    model.dispose();
    await expect.poll(() => gpu.memory.bytes).toBe(before);
  }
});
