// Colours and sizes of maps. The expected values of `resized` were computed by hand.
import { expect, test } from 'vitest';
import { OptionError } from '../../src/errors.ts';
import { PatchMap } from '../../src/tasks/patchMap.ts';

const map = new PatchMap(2, 2, Float32Array.of(0, 1, 2, 4));

test('bilinear interpolation has each value at the centre of its patch', () => {
  const { rows, cols, values } = map.resized(4, 3);
  expect([rows, cols]).toEqual([3, 4]);
  expect([...values]).toEqual([0, 0.25, 0.75, 1, 1, 1.375, 2.125, 2.5, 2, 2.5, 3.5, 4]);
});

test('a map at its own size is the same map', () => {
  expect(map.resized(2, 2)).toEqual(map);
});

test('the smallest value has the first colour, the largest value the last', () => {
  const [first, , , last] = chunks([...map.rgba()]);
  expect([first, last]).toEqual([
    [68, 1, 84, 255],
    [253, 231, 37, 255],
  ]);
  expect([...map.rgba({ colormap: 'gray', range: [1, 3] })]).toEqual([
    0, 0, 0, 255, 0, 0, 0, 255, 128, 128, 128, 255, 255, 255, 255, 255,
  ]);
});

const chunks = (pixels: number[]): number[][] =>
  Array.from({ length: pixels.length / 4 }, (_, i) => pixels.slice(4 * i, 4 * i + 4));

test('a map of one value has the colour in the middle', () => {
  const flat = new PatchMap(1, 1, Float32Array.of(7));
  expect([...flat.rgba({ colormap: 'gray' })]).toEqual([128, 128, 128, 255]);
});

test('a picture may have another size', () => {
  expect(map.rgba({ width: 10, height: 6 })).toHaveLength(4 * 60);
});

test('one side keeps the proportions, scale counts pixels of a patch, and smooth: false keeps the patches', () => {
  const wide = new PatchMap(1, 2, Float32Array.of(0, 1));
  expect(wide.rgba({ width: 10 })).toHaveLength(4 * 50);
  expect(wide.rgba({ scale: 3 })).toHaveLength(4 * 18);
  const reds = chunks([...wide.rgba({ scale: 2, smooth: false, colormap: 'gray' })]).map(([red]) => red);
  expect(reds).toEqual([0, 0, 255, 255, 0, 0, 255, 255]);
  expect(() => wide.rgba({ scale: 2, width: 4 })).toThrow(OptionError);
});

test('values that are not finite are transparent, and do not change the other colours', () => {
  const holes = new PatchMap(1, 4, Float32Array.of(0, NaN, Infinity, 1));
  expect(chunks([...holes.rgba({ colormap: 'gray', range: [0, 1] })])).toEqual([
    [0, 0, 0, 255],
    [0, 0, 0, 0],
    [0, 0, 0, 0],
    [255, 255, 255, 255],
  ]);
});

test('values by position', () => {
  expect(map.at(1, 0)).toBe(2);
  for (const [row, col] of [
    [2, 0],
    [0, -1],
    [0.5, 0],
  ] as const)
    expect(() => map.at(row, col)).toThrow(OptionError);
});

test.each([
  () => new PatchMap(2, 2, new Float32Array(3)),
  () => map.resized(0, 4),
  () => map.resized(4, 1e6),
  () => map.rgba({ range: [2, 1] }),
  () => map.rgba({ range: [NaN, 1] }),
  () => map.rgba({ colormap: 'jet' as 'gray' }),
  () => map.rgba({ color: 'gray' } as object),
])('a wrong argument is an OptionError: %s', (call) => {
  expect(call).toThrow(OptionError);
});
