// Kernels compile and are tested while weights download; neither waits for the other.
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

/** Timeout of a wait that should not occur, so that a wrong order fails the test instead of blocking it. */
const PATIENCE_MS = 120_000;

interface Compiling {
  begun: number;
  ended: number;
}

interface Watch {
  /** Called before and after each pipeline is compiled. */
  readonly before?: () => Promise<void>;
  readonly after?: () => void;
  readonly onProgress?: (progress: LoadProgress) => void;
  readonly selfTest?: boolean;
  readonly dtype?: Dtype;
}

/** True if the adapter has shader-f16, which adds a second storage format for f16 weights. */
const half = (await requestAdapter()).features.has('shader-f16');

/** Loads on a new device without compiled pipelines. */
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

/** Pipelines that a load without the self-test compiles. `bits` is the output of its model. */
const reference: Compiling = { begun: 0, ended: 0 };
let bits: Uint32Array;
beforeAll(async () => {
  ({ bits } = await load(reference));
  expect(reference.ended).toBeGreaterThan(5);
});

test('every kernel compiles before the last bytes of the weights arrive', async () => {
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
  '%s: the weights are consumed completely while kernels compile, and the self-test compiles no additional kernels',
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

// Without shader-f16, f16 weights have only one storage format and no fallback.
const halves: [string, Mistake[], RegExp][] = [
  [
    'wrong',
    [['return vec4f(stored);', 'return 1.01 * vec4f(stored);']],
    /Self-test of kernel [\w.]+ with f16 weights/,
  ],
  ['refused by the compiler', [['enable f16;', 'enable nothing;']], /does not compile on/],
];
test.each(half ? halves : [])(
  'if kernels with native f16 are %s, the weights already read from a stream are used in packed format',
  async (_, mistakes, why) => {
    const { device, changed } = await wrongDevice(mistakes);
    const config = JSON.parse(configFile.toString()) as object;
    const options = { dtype: 'fp16', retry: { attempts: 1 } } as const;
    using model = await DINOv2.fromFiles(
      { config, weights: new Blob([new Uint8Array(weightsFile)]).stream() },
      { ...options, device },
    );
    expect(model.dtypeReason).toMatch(/^fp16, stored as f16-packed, as requested: passed the self-test/);
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
  'a failed self-test ends a load during the download and frees its GPU memory',
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
        given += 1; // the rest is never sent
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
  'an abort does not wait for the self-test, and GPU memory is freed once the self-test ends',
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
    // The test lets no kernel compile before the load has ended.
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
