import { describe, expect, it } from 'vitest';
import { planResize, type ResizeOptions } from '../../src/image/geometry.js';

const plan = (width: number, height: number, options: ResizeOptions = {}) =>
  planResize(width, height, options, 14);
const codeOf = (action: () => unknown): unknown => {
  try {
    return action();
  } catch (error) {
    return (error as { code?: string }).code ?? error;
  }
};

describe("planResize, 'crop'", () => {
  it.each([
    [640, 427, 383, 256, 79, 16],
    [427, 640, 256, 383, 16, 79],
    [512, 512, 256, 256, 16, 16],
    [451, 300, 384, 256, 80, 16],
    [1, 3000, 256, 768000, 16, 383888],
    [597, 450, 339, 256, 57, 16], // 57.5 is cut, not rounded
  ])(
    '%i × %i is resized to %i × %i and cut from (%i, %i)',
    (width, height, resizedWidth, resizedHeight, left, top) => {
      expect(plan(width, height)).toEqual({
        sourceWidth: width,
        sourceHeight: height,
        resizedWidth,
        resizedHeight,
        left,
        top,
        width: 224,
        height: 224,
        verticalFirst: false,
      });
    },
  );

  it('keeps the margin of 256 : 224 for another crop, unless shortestEdge is given', () => {
    expect(plan(1000, 1000, { cropSize: 518 })).toMatchObject({ resizedWidth: 592, left: 37, width: 518 });
    expect(plan(1000, 1000, { cropSize: 14 })).toMatchObject({ resizedWidth: 16 });
    expect(plan(1000, 1000, { cropSize: 518, shortestEdge: 518 })).toMatchObject({
      resizedWidth: 518,
      left: 0,
      width: 518,
    });
  });

  it('cuts inside the resized image, for all sizes up to 300', () => {
    for (let width = 1; width <= 300; width += 7) {
      for (let height = 1; height <= 300; height++) {
        const { resizedWidth, resizedHeight, left, top } = plan(width, height);
        if (left < 0 || top < 0 || left + 224 > resizedWidth || top + 224 > resizedHeight)
          expect([width, height]).toBe('inside');
      }
    }
  });
});

describe("planResize, 'fit'", () => {
  it.each([
    [640, 427, 518, 350],
    [427, 640, 350, 518],
    [512, 512, 518, 518],
    [3000, 2, 518, 14],
    [2, 3000, 14, 518],
    [1, 1, 518, 518],
  ])('%i × %i becomes %i × %i', (sourceWidth, sourceHeight, width, height) => {
    expect(plan(sourceWidth, sourceHeight, { resize: 'fit' })).toEqual({
      sourceWidth,
      sourceHeight,
      resizedWidth: width,
      resizedHeight: height,
      left: 0,
      top: 0,
      width,
      height,
      verticalFirst: sourceHeight === 3000,
    });
  });

  it('goes vertically first where Pillow does', () => {
    expect(plan(3, 300, { resize: 'fit', longestSide: 210 }).verticalFirst).toBe(false);
    expect(plan(3, 301, { resize: 'fit', longestSide: 210 }).verticalFirst).toBe(true);
    expect(plan(3, 301, { resize: 'fit', longestSide: 308 }).verticalFirst).toBe(false);
    expect(plan(301, 3, { resize: 'fit', longestSide: 210 }).verticalFirst).toBe(false);
    expect(plan(257, 25701).verticalFirst).toBe(true);
    expect(plan(256, 25601).verticalFirst).toBe(false);
  });

  it('rounds longestSide to patches', () => {
    expect(plan(100, 50, { resize: 'fit', longestSide: 100 })).toMatchObject({ width: 98, height: 56 });
    expect(plan(100, 50, { resize: 'fit', longestSide: 14 })).toMatchObject({ width: 14, height: 14 });
  });
});

describe("planResize, 'square'", () => {
  it.each([
    [640, 427],
    [1, 3000],
    [224, 224],
  ])('%i × %i becomes 224 × 224, or what is asked for', (sourceWidth, sourceHeight) => {
    const rest = { sourceWidth, sourceHeight, left: 0, top: 0, verticalFirst: sourceHeight === 3000 };
    expect(plan(sourceWidth, sourceHeight, { resize: 'square' })).toEqual({
      ...rest,
      resizedWidth: 224,
      resizedHeight: 224,
      width: 224,
      height: 224,
    });
    expect(plan(sourceWidth, sourceHeight, { resize: 'square', size: 518 })).toEqual({
      ...rest,
      resizedWidth: 518,
      resizedHeight: 518,
      width: 518,
      height: 518,
    });
  });
});

describe('options that do not fit together', () => {
  it.each<[ResizeOptions, RegExp]>([
    [{ resize: 'stretch' as 'fit' }, /^resize: expected 'crop', 'fit' or 'square', found "stretch"/],
    [{ cropSize: 225 }, /^cropSize: expected a multiple of 14, .*found 225\. Use 224 or 238\./],
    [{ cropSize: 7 }, /^cropSize: expected a whole number from 14 to 32768, found 7/],
    [{ cropSize: Number.NaN }, /found NaN/],
    [{ shortestEdge: 223 }, /^shortestEdge: expected a whole number from 224 to 32768, found 223/],
    [{ shortestEdge: 256.5 }, /found 256\.5/],
    [{ longestSide: 518 }, /^longestSide: expected with resize: 'fit' alone/],
    [{ resize: 'fit', cropSize: 224 }, /^cropSize: expected with resize: 'crop' alone/],
    [{ resize: 'fit', shortestEdge: 256 }, /^shortestEdge: expected with resize: 'crop' alone/],
    [
      { size: 224 },
      /^size: expected with resize: 'square' alone, found it with 'crop'\. Leave it out, or give cropSize and shortestEdge\./,
    ],
    [
      { resize: 'fit', size: 224 },
      /^size: expected with resize: 'square' alone, found it with 'fit'\. Leave it out, or give longestSide\./,
    ],
    [
      { resize: 'square', cropSize: 224 },
      /^cropSize: expected with resize: 'crop' alone, found it with 'square'\. Leave it out, or give size\./,
    ],
    [{ resize: 'square', longestSide: 224 }, /^longestSide: expected with resize: 'fit' alone/],
    [{ resize: 'square', size: 225 }, /^size: expected a multiple of 14, .*found 225\. Use 224 or 238\./],
    [{ resize: 'square', size: 0 }, /^size: expected a whole number from 14 to 32768, found 0/],
    [{ resize: 'fit', longestSide: 13 }, /^longestSide: expected a whole number from 14 to 32768, found 13/],
  ])('%o', (options, message) => {
    expect(() => plan(100, 100, options)).toThrow(message);
    expect(codeOf(() => plan(100, 100, options))).toBe('INPUT_SHAPE');
  });

  it.each([
    [0, 5],
    [5, 0],
    [Number.NaN, 5],
    [1.5, 2],
  ])('a source of %d × %d is an IMAGE_SIZE error', (width, height) => {
    expect(codeOf(() => plan(width, height))).toBe('IMAGE_SIZE');
  });
});
