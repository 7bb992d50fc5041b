import { expect, test, vi } from 'vitest';
import { PanelPacker } from '../../src/weights/packing.ts';
import { PackingMemory } from '../../src/weights/panelMemory.ts';
import { configOf } from '../../src/model/config.ts';
import { parameters } from '../../src/model/parameters.ts';

/** The project's limit on JavaScript memory while a model loads. */
const MAX_BYTES = 32 * 2 ** 20;

test.each(['f32', 'f16', 'int8'] as const)('the packers of ViT-L share their memory: %s', (storage) => {
  const memory = new PackingMemory();
  const before = process.memoryUsage().arrayBuffers;
  const packers: PanelPacker[] = []; // keeps all packers alive, as during a load
  for (const { name, shape } of parameters(configOf('large'))) {
    if (!name.endsWith('.weight') || shape.length < 2) continue;
    const columns = shape.slice(1).reduce((product, extent) => product * extent, 1);
    const packer = new PanelPacker(shape[0]!, columns, storage, () => undefined, memory);
    packer.add(new Float32Array(64 * columns), 0);
    packers.push(packer);
  }
  const grown = process.memoryUsage().arrayBuffers - before;
  expect(packers.length).toBe(97);
  // The input arrays may or may not have been collected, so their size is subtracted before the comparison.
  const perPacker = (shape: readonly number[]): number =>
    64 * shape.slice(1).reduce((product, extent) => product * extent, 1) * 4;
  const handedIn = parameters(configOf('large')).reduce(
    (sum, { name, shape }) => (name.endsWith('.weight') && shape.length > 1 ? sum + perPacker(shape) : sum),
    0,
  );
  expect(grown - handedIn).toBeLessThan(MAX_BYTES);
});

test('memory that cannot grow is an error with a code, and later requests that fit succeed', () => {
  const memory = new PackingMemory();
  const grow = vi.spyOn(WebAssembly.Memory.prototype, 'grow').mockImplementation(() => {
    throw new RangeError('maximum memory size exceeded');
  });
  const take = (): unknown => memory.take(2 ** 22);
  expect(take).toThrow(expect.objectContaining({ code: 'DEVICE_MEMORY' }) as Error);
  grow.mockRestore();
  const first = memory.take(64).words;
  first.fill(7);
  expect([...first].every((word) => word === 7)).toBe(true);
  expect(memory.take(2 ** 22).words).toHaveLength(2 ** 22);
});
