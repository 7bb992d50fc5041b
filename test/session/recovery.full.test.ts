// Losses of the device in each phase of a model's life, by `destroy()`. Each call ends with the right bits, or with the
// error of the contract. No promise stays open, and nothing is left on the lost device.
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { acquireGpu } from '../../src/gpu/device.ts';
import { DINOv2, type LoadOptions } from '../../src/index.ts';
import { parseSafetensors } from '../../src/safetensors.ts';
import { EmbeddingIndex, type Hit } from '../../src/search.ts';
import { configFile, weightsFile } from '../loading/server.ts';
import { Random } from '../random.ts';
import { embeddings, idOf } from '../search/reference.ts';
import { bitsOfForward, pixelsOf, requestDevice, settled, tiny } from '../gpu/tiny.ts';

const load = (options: LoadOptions = {}): Promise<DINOv2> =>
  DINOv2.synthetic(tiny, { ...options, selfTest: false });
const small = { height: 28, width: 28 };
const unhandled: unknown[] = [];
const note = (reason: unknown): void => void unhandled.push(reason);
const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setTimeout(resolve, 0));
};
const image = (shade: number): Uint8Array => {
  // An uncompressed BMP of 28 × 28 pixels: a file, so that it can be read again.
  const bytes = new Uint8Array(54 + 28 * 28 * 3);
  const view = new DataView(bytes.buffer);
  bytes.set([0x42, 0x4d]);
  view.setUint32(2, bytes.length, true);
  view.setUint32(10, 54, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, 28, true);
  view.setInt32(22, 28, true);
  view.setUint16(26, 1, true);
  view.setUint16(28, 24, true);
  for (let i = 54; i < bytes.length; i++) bytes[i] = (i * shade) % 251;
  return bytes;
};
const how = { resize: 'square', size: 28 } as const;
const plain = (values: ArrayLike<number>): number[] => Array.from(values);

/** The phases of a model whose calls are repeated. Each returns its result as plain numbers. */
const phases: Record<string, (model: DINOv2) => Promise<unknown>> = {
  forward: async (model) => {
    // The caller's read of the features is not repeated.
    const features = await model.forward(pixelsOf(28, 28), small);
    features.dispose();
  },
  compile: async (model) => {
    const features = await model.forward(pixelsOf(42, 28), { height: 42, width: 28 }, { attentions: [0] });
    features.dispose();
  },
  features: async (model) => (await model.features(image(3), how)).dispose(),
  featuresBySize: async (model) => {
    const groups = await model.featuresBySize([image(3), image(5)], how);
    for (const { features } of groups) features.dispose();
    return groups.map(({ indices }) => indices);
  },
  pixels: async (model) => plain((await model.pixels(image(7), how)).data),
  'embed, which reads': async (model) => (await model.embed([3, 5, 7].map(image), how)).map(plain),
  embedAll: async (model) => {
    const all: unknown[] = [];
    for await (const { index, embedding, error } of model.embedAll([3, 5, 7, 11, 13].map(image), {
      ...how,
      batchSize: 2,
    }))
      all.push([index, error?.message, embedding && plain(embedding)]);
    return all;
  },
  tune: async (model) => (await model.tune({ sizesPx: [28], store: false })).tuning,
  fingerprint: (model) => model.fingerprint(),
};

beforeAll(() => void process.on('unhandledRejection', note));
afterAll(async () => {
  await turns(5);
  process.off('unhandledRejection', note);
  expect(unhandled).toEqual([]);
});

test.each(Object.keys(phases))(
  'a loss before, during and after %s: the same results',
  { timeout: 120_000 },
  async (phase) => {
    const run = phases[phase]!;
    for (const after of [0, 1, 4, 12]) {
      const model = await load();
      const right = [await run(model), await bitsOfForward(model, 28, 28)];
      const lost = await acquireGpu(model.device);
      const running = run(model);
      await turns(after);
      lost.device.destroy();
      expect([await running, await bitsOfForward(model, 28, 28)], `after ${after} turns`).toEqual(right);
      expect(model.device).not.toBe(lost.device);
      await expect.poll(() => lost.memory.buffers).toBe(0);
      model.dispose();
      lost.release();
      await settled();
    }
  },
);

test('a loss during the load of a model: the error says so, and the next load works', async () => {
  for (const tensors of [1, 5, 20]) {
    let device: GPUDevice | undefined;
    const request = vi.spyOn(GPUAdapter.prototype, 'requestDevice').mockImplementation(async function (
      this: GPUAdapter,
      ...args
    ) {
      request.mockRestore();
      return (device = await this.requestDevice(...args));
    });
    const loading = load({
      onProgress: ({ loadedTensors }) => void (loadedTensors === tensors && device!.destroy()),
    });
    await expect(loading).rejects.toMatchObject({ code: 'DEVICE_LOST' });
    using model = await load();
    expect((await bitsOfForward(model, 28, 28)).length).toBe(5 * 64);
  }
});

test('a loss during a recovery: the model recovers once more', async () => {
  let reloads = 0;
  let model: DINOv2 | undefined;
  const progress = ({ loadedTensors }: { loadedTensors: number }): void => {
    if (model && loadedTensors === 3 && reloads++ === 0)
      void acquireGpu().then((gpu) => {
        gpu.device.destroy();
        gpu.release();
      });
  };
  model = await load({ onProgress: progress });
  const right = await bitsOfForward(model, 28, 28);
  model.device.destroy();
  expect(await bitsOfForward(model, 28, 28)).toEqual(right);
  expect(reloads).toBeGreaterThan(1);
  model.dispose();
});

test('an abort during a recovery rejects that call only; dispose() rejects all calls and frees everything', async () => {
  const model = await load();
  const right = await bitsOfForward(model, 28, 28);
  model.device.destroy();
  const controller = new AbortController();
  const aborted = model.forward(pixelsOf(28, 28), small, { signal: controller.signal });
  const other = bitsOfForward(model, 28, 28);
  await turns(3);
  controller.abort(new Error('stopped'));
  await expect(aborted).rejects.toThrow('stopped');
  expect(await other).toEqual(right);

  const { device } = model;
  device.destroy();
  const calls = [bitsOfForward(model, 28, 28), model.embed(image(3), how), model.recover()];
  await turns(3);
  model.dispose();
  for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'DISPOSED' });
  const gpu = await acquireGpu();
  await expect.poll(() => gpu.memory.buffers).toBe(0);
  gpu.release();
});

test('a model from a stream cannot recover, and says so; a source that changed is refused', async () => {
  const config = configFile.toString();
  const weights = new Uint8Array(weightsFile);
  const { begin } = parseSafetensors(weights).tensors.get('embeddings.position_embeddings')!;
  const stream = await DINOv2.fromFiles(
    { config, weights: new Blob([weights]).stream() },
    { selfTest: false },
  );
  const right = await bitsOfForward(stream, 28, 28);
  stream.device.destroy();
  await expect(bitsOfForward(stream, 28, 28)).rejects.toMatchObject({
    code: 'DEVICE_LOST',
    message: expect.stringMatching(/stream.*Load the model again/) as string,
  });
  await expect(stream.recover()).rejects.toMatchObject({ code: 'DEVICE_LOST' });
  stream.dispose();

  const bytes = weights.slice();
  const model = await DINOv2.fromFiles({ config, weights: bytes }, { selfTest: false });
  model.device.destroy();
  expect(await bitsOfForward(model, 28, 28)).toEqual(right);
  bytes[begin]! ^= 1;
  model.device.destroy();
  await expect(bitsOfForward(model, 28, 28)).rejects.toThrow(/files of the model have changed/);
  bytes.set(weights);
  expect(await bitsOfForward(model, 28, 28).catch(() => undefined)).toBeUndefined(); // the third within a minute
  await model.recover();
  expect(await bitsOfForward(model, 28, 28)).toEqual(right);
  model.dispose();
});

test('no adapter after the loss: DEVICE_REFUSED; the model recovers when there is one again', async () => {
  using model = await load();
  const right = await bitsOfForward(model, 28, 28);
  const { device } = model;
  device.destroy();
  const request = vi.spyOn(navigator.gpu, 'requestAdapter').mockResolvedValue(null);
  await expect(bitsOfForward(model, 28, 28)).rejects.toMatchObject({
    code: 'DEVICE_REFUSED',
    message: expect.stringMatching(/restart the browser/i) as string,
  });
  request.mockRestore();
  expect(await bitsOfForward(model, 28, 28)).toEqual(right);
});

test("the caller's device is never replaced; recover(device) takes a new one", async () => {
  const ask = async (): Promise<GPUDevice> => {
    const adapter = (await navigator.gpu.requestAdapter())!;
    const requiredFeatures = (['subgroups'] as const).filter((each) => adapter.features.has(each));
    return adapter.requestDevice({ requiredFeatures });
  };
  const [first, second, third] = [await ask(), await ask(), await ask()];
  using model = await load({ device: first });
  const right = await bitsOfForward(model, 28, 28);
  first.destroy();
  await expect(bitsOfForward(model, 28, 28)).rejects.toThrow(/your own.*model\.recover\(device\)/);
  await expect(model.recover()).rejects.toMatchObject({ code: 'DEVICE_LOST' });
  await model.recover(second);
  expect(model.device).toBe(second);
  expect(await bitsOfForward(model, 28, 28)).toEqual(right);
  // A device that is not lost can be left too, also while a call runs.
  const running = bitsOfForward(model, 28, 28);
  await model.recover(third);
  expect(await running.catch((error: { code: string }) => error.code)).toEqual(right);
  expect((await acquireGpu(second)).memory.buffers).toBe(0);
  expect(await bitsOfForward(model, 28, 28)).toEqual(right);
});

test('search: the hits are the same, and the next search has the rows on a new device', async () => {
  // SwiftShader is never used for a search without the option `device`, so it takes another name here.
  const request = navigator.gpu.requestAdapter.bind(navigator.gpu);
  const named = vi.spyOn(navigator.gpu, 'requestAdapter').mockImplementation(async (...given) =>
    Object.defineProperty((await request(...given))!, 'info', {
      value: { vendor: 'mesa', architecture: 'llvmpipe', description: '' },
    }),
  );
  const index = new EmbeddingIndex({ dim: 27 });
  const rows = embeddings(new Random(4), 21_000, 27);
  await index.addMany(rows.map((vector, row) => ({ id: idOf(row), vector })));
  const query = index.vector(idOf(1));
  const right: Hit[] = await index.search(query);
  expect(index.backend.kind).toBe('gpu');
  for (const after of [0, 1, 3]) {
    const lost = await acquireGpu();
    const running = index.search(query);
    await turns(after);
    lost.device.destroy();
    expect(await running).toEqual(right);
    expect(await index.search(query)).toEqual(right);
    const next = await acquireGpu();
    expect(next).not.toBe(lost);
    await index.search(query);
    expect(next.memory.buffers).toBeGreaterThan(0);
    expect(lost.memory.buffers).toBe(0);
    lost.release();
    next.release();
  }
  index.dispose();
  named.mockRestore();
});

test('of several devices passed at once, the model ends on the last', async () => {
  const devices = await Promise.all([0, 1, 2, 3].map(() => requestDevice()));
  const model = await load({ device: devices[0]! });
  const right = await bitsOfForward(model, 28, 28);
  const moves = devices.slice(1).map((device) => model.recover(device));
  await moves[0];
  moves.push(model.recover(devices[1])); // asked while others wait
  await Promise.all(moves);
  expect(model.device).toBe(devices[1]);
  await Promise.all(devices.slice(2).map((device) => model.recover(device)));
  expect(model.device).toBe(devices[3]);
  expect(await bitsOfForward(model, 28, 28)).toEqual(right);
  const late = devices.slice(0, 3).map((device) => model.recover(device));
  model.dispose();
  const codes = late.map((each) => each.catch((error: unknown) => (error as { code: string }).code));
  expect(await Promise.all(codes)).toEqual(['DISPOSED', 'DISPOSED', 'DISPOSED']);
  for (const device of devices) device.destroy();
});
