// A search for which the GPU has not enough memory runs on the CPU, and the index says what the GPU would need.
import { afterEach, expect, test } from 'vitest';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { Random } from '../random.ts';
import { EmbeddingIndex } from '../../src/search.ts';
import { searchBytes } from '../../src/search/memoryAdvice.ts';

class GPUOutOfMemoryError {
  readonly message = 'injected';
}

const gpu = await sharedGpu();
const { device } = gpu;
const create = device.createBuffer.bind(device);
const pop = device.popErrorScope.bind(device);
afterEach(() => {
  for (const name of ['createBuffer', 'popErrorScope']) Reflect.deleteProperty(device, name);
});

/** Makes the allocation of buffers with this label fail for lack of memory. */
function runOutOfMemory(label: RegExp): void {
  let failed = false;
  let pops = 0;
  device.createBuffer = (described) => {
    if (label.test(described.label ?? '')) failed = true;
    return create(described);
  };
  // The scope for out-of-memory is the second of three to be closed.
  device.popErrorScope = async () => {
    const isMemory = pops++ % 3 === 1;
    const found = await pop();
    return isMemory && failed ? (new GPUOutOfMemoryError() as unknown as GPUError) : found;
  };
}

test.each([/^search vectors/, /^search found/])('%s do not fit', async (label) => {
  const random = new Random(7);
  const dim = 64;
  const items = Array.from({ length: 9000 }, (_, row) => ({
    id: `${row}`,
    vector: random.uniform(dim, 1),
  }));
  const onCpu = new EmbeddingIndex({ dim, storage: 'f16', device: 'cpu' });
  const index = new EmbeddingIndex({ dim, storage: 'f16', device });
  for (const each of [onCpu, index]) await each.addMany(items);
  runOutOfMemory(label);
  const before = gpu.memory.bytes;
  expect(await index.search(items[5]!.vector)).toEqual(await onCpu.search(items[5]!.vector));
  await expect.poll(() => gpu.memory.bytes).toBe(before);
  expect(index.backend).toEqual({
    kind: 'cpu',
    reason: expect.stringMatching(
      /ran out of memory when asked for [\d.]+ MB, in addition to the [\d.]+ MB that this library held\. \(injected\) Searches now run on the CPU, and give the same hits\. On the GPU, 9000 rows of 64 numbers stored as f16 need at least 1\.3 MB\. To compare: 4500 rows 0\.7 MB; storage: 'int8' 0\.8 MB\.$/,
    ) as string,
  });
  for (const each of [onCpu, index]) each.dispose();
});

test('the bytes that are named are those that a search of one query allocates', async () => {
  const random = new Random(8);
  const dim = 384;
  const index = new EmbeddingIndex({ dim, storage: 'f32', device });
  await index.addMany(
    Array.from({ length: 2048 }, (_, row) => ({ id: `${row}`, vector: random.uniform(dim, 1) })),
  );
  const before = gpu.memory.bytes;
  await index.search(random.uniform(dim, 1));
  expect(index.backend.kind).toBe('gpu');
  const used = gpu.memory.bytes - before;
  expect(Math.abs(searchBytes(2048, dim, 'f32') / used - 1)).toBeLessThan(0.01);
  index.dispose();
});
