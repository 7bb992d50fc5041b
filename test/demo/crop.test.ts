/** The crop shown in the demo equals the crop that the library computes. */
import { describe, expect, it } from 'vitest';
import { cropOf, gridOf } from '../../demo/shared/crop.js';
import { DEFAULT_PREPROCESSING, type Preprocessing } from '../../src/image/preprocessing.js';
import { planOf } from '../image/plan.js';

const sizes = [
  [512, 512],
  [451, 300],
  [600, 400],
  [640, 427],
  [300, 451],
  [1, 1000],
  [1000, 1],
  [37, 41],
  [4032, 3024],
  [257, 256],
] as const;

const own: [string, Preprocessing][] = [
  ['518 of 518', { resize: { shortestEdge: 518 }, crop: { height: 518, width: 518 } }],
  ['a square', { resize: { height: 448, width: 448 }, crop: undefined }],
  ['no crop', { resize: { shortestEdge: 224 }, crop: undefined }],
  ['no crop, and not too long', { resize: { shortestEdge: 224, longestEdge: 448 }, crop: undefined }],
  ['a crop beyond the picture', { resize: { height: 224, width: 224 }, crop: { height: 280, width: 252 } }],
].map(([name, sizes]) => [
  name as string,
  { ...DEFAULT_PREPROCESSING, ...(sizes as Partial<Preprocessing>) },
]);

describe("a checkpoint's own preprocessing", () => {
  it.each(own)('%s: the same crop and grid as in the library', (_, preprocessing) => {
    for (const [width, height] of [
      [512, 512],
      [451, 300],
      [300, 451],
      [4032, 3024],
    ] as const) {
      const { left, top, resizedWidth, resizedHeight, ...plan } = planOf(width, height, {}, preprocessing);
      const crop = cropOf(width, height, 'crop', preprocessing);
      expect(crop.left).toBeCloseTo((left * width) / resizedWidth, 9);
      expect(crop.top).toBeCloseTo((top * height) / resizedHeight, 9);
      expect(crop.width).toBeCloseTo((plan.width * width) / resizedWidth, 9);
      expect(crop.height).toBeCloseTo((plan.height * height) / resizedHeight, 9);
      expect(gridOf(width, height, 'crop', 14, preprocessing)).toEqual({
        rows: Math.floor(plan.height / 14),
        cols: Math.floor(plan.width / 14),
      });
    }
  });
});

describe('cropOf and gridOf', () => {
  it.each(sizes)('agree with the library on the crop of %i × %i', (width, height) => {
    const { left, top, resizedWidth, resizedHeight, ...plan } = planOf(width, height, { resize: 'crop' });
    const crop = cropOf(width, height, 'crop');
    expect(crop.left).toBeCloseTo((left * width) / resizedWidth, 9);
    expect(crop.top).toBeCloseTo((top * height) / resizedHeight, 9);
    expect(crop.width).toBeCloseTo((plan.width * width) / resizedWidth, 9);
    expect(crop.height).toBeCloseTo((plan.height * height) / resizedHeight, 9);
    expect(gridOf(width, height, 'crop', 14)).toEqual({ rows: 16, cols: 16 });
  });

  it.each(
    sizes.flatMap(([width, height]) =>
      ([224, 322, 448, 518] as const).map((side) => [width, height, side] as const),
    ),
  )('agree with the library on the whole of %i × %i at %i', (width, height, longestSide) => {
    const plan = planOf(width, height, { resize: 'fit', longestSide });
    expect(cropOf(width, height, longestSide)).toEqual({ left: 0, top: 0, width, height });
    expect(gridOf(width, height, longestSide, 14)).toEqual({ rows: plan.height / 14, cols: plan.width / 14 });
  });
});
