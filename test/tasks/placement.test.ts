// Pixels of an image to patches and back, in float64: every orientation, random sizes and rules of resizing.
import { describe, expect, test } from 'vitest';
import { wholePatches, type ResolvedPreprocessing } from '../../src/image/geometry.ts';
import { placementOf } from '../../src/image/placement.ts';
import { placementOfPixels } from '../../src/model/normalizedPixels.ts';
import type { PreprocessingOptions } from '../../src/image/preprocessing.ts';
import { OptionError } from '../../src/errors.ts';
import { patchArea, patchAt, type ImagePoint, type PlacedPatches } from '../../src/tasks/placement.ts';
import { planResize } from '../../src/image/geometry.ts';
import { Random } from '../random.ts';
import { resolve } from '../image/plan.ts';

const PATCH = 14;
const random = new Random(18);

function placed(width: number, height: number, ignored: number, rules: ResolvedPreprocessing): PlacedPatches {
  const geometry = wholePatches(planResize(width, height, rules, PATCH), PATCH);
  return {
    rows: geometry.height / PATCH,
    cols: geometry.width / PATCH,
    placements: [placementOf(geometry, PATCH, ignored)],
  };
}

/** Random rules of resizing, also crops that pad and outputs that leave a remainder. */
function randomRules(): ResolvedPreprocessing {
  const side = random.integer(PATCH, 200);
  const kind = random.integer(0, 4);
  if (kind === 3) return { ...resolve(), resize: undefined, crop: { height: side, width: 2 * side } };
  if (kind === 4) return { ...resolve(), resize: { height: side, width: side + 9 }, crop: undefined };
  const options: PreprocessingOptions[] = [
    { resize: 'crop', cropSize: side, shortestEdge: random.integer(PATCH, 250) },
    { resize: 'fit', longestSide: side },
    { resize: 'square', size: side },
  ];
  return resolve(options[kind]!);
}

describe.each([1, 2, 3, 4, 5, 6, 7, 8])('orientation %i', (orientation) => {
  test('the centre of the area of a patch is in that patch, and areas tile the crop', () => {
    for (let round = 0; round < 15; round++) {
      const [width, height] = [random.integer(1, 400), random.integer(1, 400)];
      const features = placed(width, height, orientation, randomRules());
      const { rows, cols, placements } = features;
      const { resizedWidth, resizedHeight } = placements[0]!;
      let sum = 0;
      for (let row = 0; row < rows; row++)
        for (let col = 0; col < cols; col++) {
          const area = patchArea(features, { row, col });
          const centre = { x: area.x + area.width / 2, y: area.y + area.height / 2 };
          expect(patchAt(features, centre)).toEqual({ row, col });
          // Points near each corner, from the inside.
          for (const [a, b] of [
            [0.01, 0.01],
            [0.99, 0.01],
            [0.01, 0.99],
            [0.99, 0.99],
          ] as const)
            expect(patchAt(features, { x: area.x + a * area.width, y: area.y + b * area.height })).toEqual({
              row,
              col,
            });
          sum += area.width * area.height;
        }
      const whole = (rows * cols * PATCH * PATCH * width * height) / (resizedWidth * resizedHeight);
      expect(Math.abs(sum / whole - 1)).toBeLessThan(1e-9);
    }
  });
});

test("with resize 'fit' or 'square', patches cover the image exactly", () => {
  for (const [options, orientation] of [
    [{ resize: 'fit', longestSide: 70 }, 1],
    [{ resize: 'fit', longestSide: 70 }, 6],
    [{ resize: 'square', size: 42 }, 8],
  ] as const) {
    const features = placed(300, 200, orientation, resolve(options));
    const { width, height } = features.placements[0]!;
    expect([width, height]).toEqual(orientation === 1 ? [300, 200] : [200, 300]);
    for (const [x, y] of [
      [0, 0],
      [width, 0],
      [0, height],
      [width, height],
    ] as const)
      expect(patchAt(features, { x, y })).toBeDefined();
    expect(patchAt(features, { x: width + 0.01, y: 1 })).toBeUndefined();
    expect(patchAt(features, { x: 1, y: -0.01 })).toBeUndefined();
  }
});

test('a point outside of the crop is in no patch', () => {
  // 640 × 320 becomes 512 × 256, of which 224 × 224 from (144, 16) are patches.
  const features = placed(640, 320, 1, resolve());
  expect(patchAt(features, { x: 179.9, y: 160 })).toBeUndefined();
  expect(patchAt(features, { x: 180.1, y: 160 })).toEqual({ row: 8, col: 0 });
  expect(patchAt(features, { x: 459.9, y: 160 })).toEqual({ row: 8, col: 15 });
  expect(patchAt(features, { x: 460.1, y: 160 })).toBeUndefined();
  expect(patchArea(features, { row: 0, col: 0 })).toEqual({ x: 180, y: 20, width: 17.5, height: 17.5 });
});

test('a photograph that was read as stored is clicked as shown', () => {
  // Stored 42 × 28 with orientation 6: the image is shown turned by 90° clockwise, 28 × 42.
  const features = placed(42, 28, 6, resolve({ resize: 'fit', longestSide: 42 }));
  expect(patchAt(features, { x: 27, y: 1 })).toEqual({ row: 0, col: 0 });
  expect(patchAt(features, { x: 1, y: 1 })).toEqual({ row: 1, col: 0 });
  expect(patchAt(features, { x: 27, y: 41 })).toEqual({ row: 0, col: 2 });
  expect(patchArea(features, { row: 1, col: 0 })).toEqual({ x: 0, y: 0, width: 14, height: 14 });
});

test('normalised pixels are not resized, and their remainder is in no patch', () => {
  const features = { rows: 2, cols: 3, placements: [placementOfPixels(50, 40, PATCH)] };
  expect(patchArea(features, { row: 1, col: 2 })).toEqual({ x: 28, y: 14, width: 14, height: 14 });
  expect(patchAt(features, { x: 41, y: 27 })).toEqual({ row: 1, col: 2 });
  expect(patchAt(features, { x: 43, y: 20 })).toBeUndefined();
});

test('the image of a batch is chosen, and wrong arguments are refused', () => {
  const features = {
    rows: 2,
    cols: 2,
    placements: [placementOfPixels(28, 28, PATCH), { ...placementOfPixels(28, 28, PATCH), orientation: 2 }],
  };
  expect(patchAt(features, { x: 1, y: 1 })).toEqual({ row: 0, col: 0 });
  expect(patchAt(features, { x: 1, y: 1 }, { batchIndex: 1 })).toEqual({ row: 0, col: 1 });
  for (const point of [{ x: NaN, y: 0 }, { x: 0, y: Infinity }, { x: 0 } as ImagePoint])
    expect(() => patchAt(features, point)).toThrow(OptionError);
  for (const batchIndex of [2, -1, 0.5])
    expect(() => patchAt(features, { x: 1, y: 1 }, { batchIndex })).toThrow('batchIndex');
  for (const patch of [
    { row: 2, col: 0 },
    { row: 0, col: -1 },
    { row: 0.5, col: 0 },
  ])
    expect(() => patchArea(features, patch)).toThrow(OptionError);
  expect(() => patchAt(features, { x: 1, y: 1 }, { batch: 1 } as object)).not.toThrow();
  expect(() => patchAt(features, { x: 1, y: 1 }, { batchindex: 1 } as object)).toThrow(OptionError);
});
