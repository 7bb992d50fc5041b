// Kernels compile, and are tried, while weights arrive: neither waits for the other.
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import type { Dtype } from '../../src/weights/precision.ts';
import { DINOv2 } from '../../src/dinov2.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import { requestAdapter } from '../../src/gpu/adapter.ts';
import type { LoadProgress } from '../../src/options.ts';
import { full } from '../full.ts';
import { wrongDevice, type Mistake } from '../gpu/sabotage.ts';
import { bitsOfForward, requestDevice } from '../gpu/tiny.ts';
import { configFile, openServer, sha256, weightsFile, type TestServer } from './server.ts';

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
  readonly dtype?: Dtype;
}

/** f16 is stored in a second way where the adapter has this. */
const half = (await requestAdapter()).features.has('shader-f16');

/** Loads on a device on which nothing has been compiled. */
async function load(
  compiling: Compiling,
  { before, after, onProgress, selfTest = false, dtype }: Watch = {},
): Promise<{ readonly bits: Uint32Array; readonly whenLoaded: Compiling }> {
  const device = await requestDevice(half ? ['shader-f16'] : []);
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
    const model = await DINOv2.fromPretrained(server.url, {
      device,
      dtype,
      selfTest,
      onProgress,
      retry: { attempts: 1, stallMs: PATIENCE_MS },
    });
    const whenLoaded = { ...compiling };
    const bits = await bitsOfForward(model, 28, 28);
    model.dispose();
    return { bits, whenLoaded };
  } finally {
    device.destroy();
  }
}

/** What a load without the self-test compiles, and what its model computes. */
const reference: Compiling = { begun: 0, ended: 0 };
let bits: Uint32Array;
beforeAll(async () => {
  ({ bits } = await load(reference));
  expect(reference.ended).toBeGreaterThan(5);
});

test('every kernel is compiled while the last bytes of the weights are on their way', async () => {
  const compiling: Compiling = { begun: 0, ended: 0 };
  let compiled!: () => void;
  const all = new Promise<void>((resolve) => (compiled = resolve));
  let held = 0;
  server.fault = async ({ name, bytes, range, response }) => {
    if (name !== 'model.safetensors' || range?.[1] !== bytes.length) return false;
    const [begin, end] = range;
    response
      .writeHead(206, {
        etag: `"${sha256(bytes).slice(0, 16)}"`,
        'content-length': end - begin,
        'content-range': `bytes ${begin}-${end - 1}/${end}`,
      })
      .write(bytes.subarray(begin, end - 1000));
    await all;
    held += 1;
    response.end(bytes.subarray(end - 1000));
    return true;
  };
  const found = await load(compiling, {
    after: () => void (compiling.ended === reference.ended && compiled()),
  });
  expect(held).toBe(1);
  expect(found.whenLoaded).toEqual(reference);
  expect(found.bits).toEqual(bits);
});

test.each<Dtype>(full ? ['fp32', 'fp16', 'int8'] : ['fp32'])(
  '%s: the weights are used to their last byte while kernels compile, and the self-test compiles no others',
  async (dtype) => {
    let arrived!: () => void;
    const all = new Promise<void>((resolve) => (arrived = resolve));
    const onProgress = ({ loadedBytes, totalBytes }: LoadProgress): void =>
      void (loadedBytes === totalBytes && arrived());
    const compiling: Compiling = { begun: 0, ended: 0 };
    await load(compiling, { before: () => all, onProgress, selfTest: true, dtype });
    expect(compiling).toEqual(reference);
  },
  PATIENCE_MS,
);

// Without shader-f16 there is one way to store f16, and no other to fall back on.
const halves: [string, Mistake[], RegExp][] = [
  [
    'wrong',
    [['return vec4f(stored);', 'return 1.01 * vec4f(stored);']],
    /Self-test of kernel [\w.]+ with f16 weights/,
  ],
  ['refused by the compiler', [['enable f16;', 'enable nothing;']], /does not compile on/],
];
test.each(half ? halves : [])(
  'where kernels that read f16 as such are %s, the same bytes are read in the other way: a stream is enough',
  async (_, mistakes, why) => {
    const { device, changed } = await wrongDevice(mistakes);
    const config = JSON.parse(configFile.toString()) as object;
    const options = { dtype: 'fp16', retry: { attempts: 1 } } as const;
    using model = await DINOv2.fromFiles(
      { config, weights: new Blob([new Uint8Array(weightsFile)]).stream() },
      { ...options, device },
    );
    expect(model.dtypeReason).toMatch(/^fp16, stored as f16-packed, as asked for: passed the self-test/);
    expect(model.dtypeReason).toMatch(why);
    expect(changed()).toBeGreaterThan(0);
    const plain = await requestDevice(); // without shader-f16
    using packed = await DINOv2.fromFiles(
      { config, weights: new Uint8Array(weightsFile) },
      { ...options, device: plain },
    );
    expect(await bitsOfForward(model, 28, 28)).toEqual(await bitsOfForward(packed, 28, 28));
    expect(model.gpuBytes).toBe(packed.gpuBytes);
    device.destroy();
    plain.destroy();
  },
  PATIENCE_MS,
);

test(
  'what the self-test finds wrong ends a load that is under way: nothing more is waited for, and nothing stays on the GPU',
  async () => {
    let given = 0;
    const closed = new Promise<void>((resolve) => {
      server.fault = async ({ name, bytes, range, response }) => {
        if (name !== 'model.safetensors') return false;
        const [begin, end] = range ?? [0, bytes.length];
        response.once('close', resolve);
        response
          .writeHead(206, {
            etag: `"${sha256(bytes).slice(0, 16)}"`,
            'content-length': end - begin,
            'content-range': `bytes ${begin}-${end - 1}/${bytes.length}`,
          })
          .write(bytes.subarray(begin, end - 1000));
        given += 1; // the rest never comes
        return true;
      };
    });
    const { device, changed } = await wrongDevice([['0.5 * x * (1.0 + erf)', '0.5 * x * (1.25 + erf)']]);
    const loading = DINOv2.fromPretrained(server.url, {
      device,
      retry: { attempts: 1, stallMs: PATIENCE_MS },
    });
    await expect(loading).rejects.toMatchObject({ name: 'DeviceError', code: 'KERNEL_WRONG' });
    await closed;
    expect(given).toBeGreaterThan(0);
    expect(changed()).toBeGreaterThan(0);
    expect((await acquireGpu(device)).memory.buffers).toBe(0);
    device.destroy();
  },
  PATIENCE_MS,
);

test(
  'an abort does not wait for the self-test, and nothing stays on the GPU when that has ended',
  async () => {
    const device = await requestDevice();
    const create = device.createComputePipelineAsync.bind(device);
    let compile!: () => void;
    const held = new Promise<void>((resolve) => (compile = resolve));
    const compiling: Promise<unknown>[] = [];
    device.createComputePipelineAsync = async (descriptor) => {
      await held;
      const pipeline = create(descriptor);
      compiling.push(pipeline);
      return pipeline;
    };
    const controller = new AbortController();
    const reason = new Error('enough');
    const onProgress = ({ loadedBytes, totalBytes }: LoadProgress): void => {
      if (loadedBytes === totalBytes) setTimeout(() => controller.abort(reason), 50);
    };
    // No kernel is compiled before the load has ended.
    const loading = DINOv2.fromPretrained(server.url, { device, onProgress, signal: controller.signal });
    await expect(loading).rejects.toBe(reason);
    expect(compiling).toEqual([]);
    compile();
    const { memory } = await acquireGpu(device);
    await vi.waitFor(() => expect(compiling.length).toBeGreaterThan(8), PATIENCE_MS);
    await Promise.all(compiling);
    await vi.waitFor(() => expect(memory.buffers).toBe(0), PATIENCE_MS);
    device.destroy();
  },
  PATIENCE_MS,
);
