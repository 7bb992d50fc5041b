import { describe, expect, it } from 'vitest';
import { roundHalfEven, wholePatches } from '../../src/image/geometry.js';
import type { PreprocessingOptions } from '../../src/image/preprocessing.js';
import { parsePreprocessorConfig, timmPreprocessing } from '../../src/image/preprocessorConfig.js';
import { planOf as plan, resolve } from './plan.js';

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
    [597, 450, 339, 256, 57, 16], // 57.5 is truncated, not rounded
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
        fill: [0, 0, 0],
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

  it('keeps the crop inside the resized image, for all sizes up to 300', () => {
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
      fill: [0, 0, 0],
      verticalFirst: sourceHeight === 3000,
    });
  });

  it('resizes vertically first in the cases where Pillow does', () => {
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
  ])('%i × %i becomes 224 × 224, or the requested size', (sourceWidth, sourceHeight) => {
    const fill = [0, 0, 0];
    const rest = { sourceWidth, sourceHeight, left: 0, top: 0, fill, verticalFirst: sourceHeight === 3000 };
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

const bit = (config: object) =>
  parsePreprocessorConfig({ image_processor_type: 'BitImageProcessor', ...config });

describe("options and a checkpoint's geometry", () => {
  const radDino = bit({ size: 518, crop_size: 518 });
  const square = bit({ size: [448, 448], do_center_crop: false });
  const rectangle = bit({ size: [224, 448], do_center_crop: false });
  const cropped = bit({ size: [300, 320], crop_size: [210, 280] });
  const bordered = timmPreprocessing({ architecture: 'vit', crop_mode: 'border', crop_pct: 0.5 })!;
  const squareOf = (height: number, width = height) => ({ height, width });
  it.each([
    ['none', radDino, {}, { shortestEdge: 518 }, squareOf(518)],
    ['none', square, {}, squareOf(448), undefined],
    ['none', rectangle, {}, squareOf(224, 448), undefined],
    ["'crop' for a checkpoint that crops", radDino, { resize: 'crop' }, { shortestEdge: 518 }, squareOf(518)],
    [
      "'crop' for a checkpoint that does not crop",
      square,
      { resize: 'crop' },
      { shortestEdge: 256 },
      squareOf(224),
    ],
    [
      "'crop' for a checkpoint with height and width",
      cropped,
      { resize: 'crop' },
      { shortestEdge: 300 },
      squareOf(210, 280),
    ],
    ['cropSize, ratio of the checkpoint', radDino, { cropSize: 224 }, { shortestEdge: 224 }, squareOf(224)],
    [
      'cropSize, ratio of a rectangular checkpoint',
      cropped,
      { cropSize: 420 },
      { shortestEdge: 600 },
      squareOf(420),
    ],
    ['cropSize, default ratio 256 : 224', square, { cropSize: 448 }, { shortestEdge: 512 }, squareOf(448)],
    ['cropSize for a border colour', bordered, { cropSize: 112 }, { shortestEdge: 224 }, squareOf(112)],
    ['shortestEdge', radDino, { shortestEdge: 600 }, { shortestEdge: 600 }, squareOf(518)],
    ['shortestEdge', square, { shortestEdge: 600 }, { shortestEdge: 600 }, squareOf(224)],
    [
      'cropSize and shortestEdge',
      cropped,
      { cropSize: 99, shortestEdge: 50 },
      { shortestEdge: 50 },
      squareOf(99),
    ],
    ["'square' for a checkpoint with a square size", square, { resize: 'square' }, squareOf(448), undefined],
    ["'square' for a checkpoint that crops", radDino, { resize: 'square' }, squareOf(224), undefined],
    [
      "'square' for a checkpoint with a rectangular size",
      rectangle,
      { resize: 'square' },
      squareOf(224),
      undefined,
    ],
    ["'square'", square, { resize: 'square', size: 99 }, squareOf(99), undefined],
    ["'fit'", radDino, { resize: 'fit' }, { longestSide: 518 }, undefined],
  ] as const)('%s', (_, preprocessing, options, resize, crop) => {
    const found = resolve(options, preprocessing);
    expect(found.resize).toEqual(resize);
    if (crop) expect(found.crop).toMatchObject(crop);
    else expect(found.crop).toBeUndefined();
    expect(found).toMatchObject({
      resample: preprocessing.resample,
      normalization: preprocessing.normalization,
      convention: preprocessing.convention,
    });
  });

  it("keep the checkpoint's border colour", () => {
    expect(resolve({ cropSize: 112 }, bordered).crop?.fill).toEqual([124, 116, 104]);
  });

  it("replace the checkpoint's filter and parts of its normalization", () => {
    const { resample, normalization } = resolve({ resample: 'box', normalization: { std: [1, 2, 3] } });
    expect(resample).toBe('box');
    expect(normalization).toMatchObject({ mean: [0.485, 0.456, 0.406], std: [1, 2, 3] });
  });

  it('are rejected if they name an unknown part of a normalization', () => {
    const mistyped = { normalization: { sdt: [1, 2, 3] } as object };
    expect(() => resolve(mistyped)).toThrow(/normalization: unknown field "sdt"/);
    expect(codeOf(() => resolve(mistyped))).toBe('OPTION_NAME');
  });
});

describe('a crop larger than the image', () => {
  it.each([
    [10, 15, -3, -2],
    [10, 14, -2, -2],
    [10, 11, -1, 0],
    [11, 10, 0, 0],
    [13, 10, 1, 2],
    [15, 10, 2, 2],
    [17, 10, 3, 4],
  ])('of %i, cropped to %i, begins at %i in transformers and at %i in timm', (size, crop, ours, timm) => {
    const config = bit({ do_resize: false, crop_size: crop });
    expect(plan(size, size, {}, config)).toMatchObject({ left: ours, top: ours, width: crop });
    expect(plan(size, size, {}, { ...config, convention: 'timm' })).toMatchObject({ left: timm, top: timm });
  });
});

describe('wholePatches', () => {
  it('drops the remainder at the right and at the bottom', () => {
    const geometry = plan(50, 29, {}, bit({ do_resize: false, do_center_crop: false }));
    expect(wholePatches(geometry, 14)).toEqual({ ...geometry, width: 42, height: 28 });
    expect(codeOf(() => wholePatches(geometry, 30))).toBe('IMAGE_SIZE');
  });
});

it('a resize that makes an extreme image empty or too large is an IMAGE_SIZE error', () => {
  expect(() => plan(1, 3000, {}, bit({ do_center_crop: false }))).toThrow(
    /expected sides from 1 to 32768 pixels after resizing, found 224 × 672000 for a source of 1 × 3000\./,
  );
  const within = bit({ size: { max_height: 100, max_width: 100 }, do_center_crop: false });
  expect(codeOf(() => plan(1, 3000, {}, within))).toBe('IMAGE_SIZE');
});

it("rounds halves to even, as Python's round does", () => {
  expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4, 2.6].map(roundHalfEven)).toEqual([0, 2, 2, 0, -2, 2, 3]);
});

describe('options that contradict each other are rejected', () => {
  it.each<[PreprocessingOptions, RegExp]>([
    [{ resize: 'stretch' as 'fit' }, /^resize: expected 'crop', 'fit' or 'square', found "stretch"/],
    [{ resize: null as unknown as 'fit' }, /^resize: expected 'crop', 'fit' or 'square', found null/],
    [{ cropSize: 7 }, /^cropSize: expected a whole number from 14 to 32768, found 7/],
    [{ cropSize: Number.NaN }, /found NaN/],
    [{ shortestEdge: 0 }, /^shortestEdge: expected a whole number from 1 to 32768, found 0/],
    [{ shortestEdge: 256.5 }, /found 256\.5/],
    [{ longestSide: 518 }, /^longestSide: expected resize: 'fit', found/],
    [{ resize: 'fit', cropSize: 224 }, /^cropSize: expected resize: 'crop', found/],
    [{ resize: 'fit', shortestEdge: 256 }, /^shortestEdge: expected resize: 'crop', found/],
    [
      { size: 224 },
      /^size: expected resize: 'square', found resize: 'crop'\. Leave size out, or use cropSize and shortestEdge instead\./,
    ],
    [
      { resize: 'fit', size: 224 },
      /^size: expected resize: 'square', found resize: 'fit'\. Leave size out, or use longestSide instead\./,
    ],
    [
      { resize: 'square', cropSize: 224 },
      /^cropSize: expected resize: 'crop', found resize: 'square'\. Leave cropSize out, or use size instead\./,
    ],
    [{ resize: 'square', longestSide: 224 }, /^longestSide: expected resize: 'fit', found/],
    [{ resize: 'square', size: 0 }, /^size: expected a whole number from 14 to 32768, found 0/],
    [{ resize: 'fit', longestSide: 13 }, /^longestSide: expected a whole number from 14 to 32768, found 13/],
    [{ resample: 'cubic' as 'bicubic' }, /^resample: expected 'nearest', 'lanczos', .*, found "cubic"/],
    [{ normalization: { mean: [0.5, 0.5] as never } }, /^normalization\.mean: expected three finite numbers/],
    [{ normalization: { std: [0, 1, 1] } }, /^normalization: expected finite float32 values/],
    [{ normalization: { rescaleFactor: -1 } }, /^normalization\.rescaleFactor: expected a number above 0/],
    [{ normalization: null as never }, /^normalization: expected an object, found null/],
  ])('%o', (options, message) => {
    expect(() => plan(100, 100, options)).toThrow(message);
    expect(codeOf(() => plan(100, 100, options))).toBe('OPTION_VALUE');
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
