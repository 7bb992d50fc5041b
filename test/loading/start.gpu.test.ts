// Kernels compile, and are tried, while weights arrive: neither waits for the other.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import type { LoadProgress } from '../../src/options.ts';
import { wrongDevice } from '../gpu/sabotage.ts';
import { bitsOfForward, requestDevice } from '../gpu/tiny.ts';
import { openServer, sha256, type TestServer } from './server.ts';

let server: TestServer;
beforeAll(async () => void (server = await openServer()));
afterAll(() => server.close());
afterEach(() => server.reset());

/** How long one may wait for the other where it should not: then the test fails, and does not hang. */
const PATIENCE_MS = 120_000;

interface Compiling {
  begun: number;
  ended: number;
}

interface Watch {
  /** Around each pipeline. */
  readonly before?: () => Promise<void>;
  readonly after?: () => void;
  readonly onProgress?: (progress: LoadProgress) => void;
  readonly selfTest?: boolean;
}

/** Loads on a device on which nothing has been compiled. */
async function load(compiling: Compiling, { before, after, onProgress, selfTest = false }: Watch = {}): Promise<{ readonly bits: Uint32Array; readonly whenLoaded: Compiling }> {
  const device = await requestDevice();
  const create = device.createComputePipelineAsync.bind(device);
  device.createComputePipelineAsync = async (descriptor) => {
    compiling.begun += 1;
    await before?.();
    const pipeline = await create(descriptor);
    compiling.ended += 1;
    after?.();
    return pipeline;
  };
  try {
    const model = await DINOv2.fromPretrained(server.url, { device, selfTest, onProgress, retry: { attempts: 1, stallMs: PATIENCE_MS } });
    const whenLoaded = { ...compiling };
    const bits = await bitsOfForward(model, 28, 28);
    model.dispose();
    return { bits, whenLoaded };
  } finally {
    device.destroy();
  }
}

test('every kernel is compiled while the last bytes of the weights are on their way', async () => {
  const reference: Compiling = { begun: 0, ended: 0 };
  const { bits } = await load(reference);
  expect(reference.ended).toBeGreaterThan(5);

  const compiling: Compiling = { begun: 0, ended: 0 };
  let compiled!: () => void;
  const all = new Promise<void>((resolve) => (compiled = resolve));
  let held = 0;
  server.fault = async ({ name, bytes, range, response }) => {
    if (name !== 'model.safetensors' || range?.[1] !== bytes.length) return false;
    const [begin, end] = range;
    response.writeHead(206, { etag: `"${sha256(bytes).slice(0, 16)}"`, 'content-length': end - begin, 'content-range': `bytes ${begin}-${end - 1}/${end}` }).write(bytes.subarray(begin, end - 1000));
    await all;
    held += 1;
    response.end(bytes.subarray(end - 1000));
    return true;
  };
  const found = await load(compiling, { after: () => void (compiling.ended === reference.ended && compiled()) });
  expect(held).toBe(1);
  expect(found.whenLoaded).toEqual(reference);
  expect(found.bits).toEqual(bits);
});

test('the weights are used to their last byte while kernels compile, those of the self-test too', async () => {
  let arrived!: () => void;
  const all = new Promise<void>((resolve) => (arrived = resolve));
  const onProgress = ({ loadedBytes, totalBytes }: LoadProgress): void => void (loadedBytes === totalBytes && arrived());
  await load({ begun: 0, ended: 0 }, { before: () => all, onProgress, selfTest: true });
}, PATIENCE_MS);

test('what the self-test finds wrong ends a load that is under way: nothing more is waited for, and nothing stays on the GPU', async () => {
  let given = 0;
  const closed = new Promise<void>((resolve) => {
    server.fault = async ({ name, bytes, range, response }) => {
      if (name !== 'model.safetensors') return false;
      const [begin, end] = range ?? [0, bytes.length];
      response.once('close', resolve);
      response.writeHead(206, { etag: `"${sha256(bytes).slice(0, 16)}"`, 'content-length': end - begin, 'content-range': `bytes ${begin}-${end - 1}/${bytes.length}` }).write(bytes.subarray(begin, end - 1000));
      given += 1; // the rest never comes
      return true;
    };
  });
  const { device, changed } = await wrongDevice([['0.5 * x * (1.0 + erf)', '0.5 * x * (1.25 + erf)']]);
  const loading = DINOv2.fromPretrained(server.url, { device, retry: { attempts: 1, stallMs: PATIENCE_MS } });
  await expect(loading).rejects.toMatchObject({ name: 'DeviceError', code: 'KERNEL_WRONG' });
  await closed;
  expect(given).toBeGreaterThan(0);
  expect(changed()).toBeGreaterThan(0);
  expect((await acquireGpu(device)).memory.buffers).toBe(0);
  device.destroy();
}, PATIENCE_MS);
