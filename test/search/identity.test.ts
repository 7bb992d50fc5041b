// The text that identifies preprocessing. For facebook/dinov2's defaults it must stay the same, so that
// existing indexes remain usable. Settings that give different pixels must never have the same text.
import { describe, expect, test } from 'vitest';
import { DEFAULT_PREPROCESSING, type Preprocessing } from '../../src/image/preprocessing.js';
import { configOf } from '../../src/model/config.js';
import { modelIdentity, type IdentityOptions } from '../../src/search.js';

const { normalization } = DEFAULT_PREPROCESSING;
const HALF = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } as const;
const half: Preprocessing = {
  ...DEFAULT_PREPROCESSING,
  source: 'preprocessor_config.json',
  normalization: { ...normalization, ...HALF },
};
const square: Preprocessing = {
  ...DEFAULT_PREPROCESSING,
  source: 'preprocessor_config.json',
  resize: { height: 448, width: 448 },
  crop: undefined,
};
const timm: Preprocessing = { ...DEFAULT_PREPROCESSING, source: 'config.json', convention: 'timm' };

const textOf = async (
  preprocessing: Preprocessing | undefined,
  options?: Record<string, unknown>,
): Promise<string> => {
  const model = {
    config: configOf('small'),
    fingerprint: async () => 'f',
    ...(preprocessing && { preprocessing }),
  };
  return (await modelIdentity(model, options as IdentityOptions)).preprocessing;
};

describe('the text for default preprocessing is unchanged', () => {
  test.each<[Record<string, unknown>, string]>([
    [{}, 'pooling cls, resize crop'],
    [{ id: 'my model' }, 'pooling cls, resize crop'],
    [{ resize: 'crop' }, 'pooling cls, resize crop'],
    [{ cropSize: undefined }, 'pooling cls, resize crop'],
    [{ resize: 'crop', cropSize: 224, pooling: 'mean' }, 'cropSize 224, pooling mean, resize crop'],
    [{ resize: 'fit', longestSide: 518 }, 'longestSide 518, pooling cls, resize fit'],
    [{ resize: 'square', size: 224 }, 'pooling cls, resize square, size 224'],
    [{ resize: 'square' }, 'pooling cls, resize square'],
    [{ orientation: 'respect' }, 'orientation respect, pooling cls, resize crop'],
  ])('%j', async (options, text) => {
    expect(await textOf(undefined, options)).toBe(text);
    expect(await textOf(DEFAULT_PREPROCESSING, options)).toBe(text);
    // The source of the values does not affect pixels.
    expect(await textOf({ ...DEFAULT_PREPROCESSING, source: 'preprocessor_config.json' }, options)).toBe(
      text,
    );
    // Options that repeat the default do not affect pixels either.
    expect(await textOf(undefined, { ...options, resample: 'bicubic', normalization })).toBe(text);
    expect(await textOf(half, { ...options, normalization })).toBe(text);
  });
});

test('the text depends on the combination of options and file, not on which of them sets a value', async () => {
  expect(await textOf(undefined, { normalization: HALF })).toBe(await textOf(half));
  expect(await textOf(half, { normalization: HALF })).toBe(await textOf(half));
  expect(await textOf(undefined, { normalization: { std: HALF.std, mean: HALF.mean } })).toBe(
    await textOf(half),
  );
  expect(await textOf({ ...DEFAULT_PREPROCESSING, resample: 'bilinear' })).toBe(
    await textOf(undefined, { resample: 'bilinear' }),
  );
  expect(await textOf(square, { resize: 'fit' })).toBe(await textOf(undefined, { resize: 'fit' }));
  expect(await textOf(half)).toMatch(/^pooling cls, preprocessing .*mean 0\.5,0\.5,0\.5.*, resize crop$/);
  expect(await textOf(square)).toMatch(/^pooling cls, preprocessing resize 448×448; .*/);
});

test('different pixels have different texts', async () => {
  const looks: [Preprocessing, Record<string, unknown>][] = [
    [DEFAULT_PREPROCESSING, {}],
    [DEFAULT_PREPROCESSING, { resize: 'square' }],
    [DEFAULT_PREPROCESSING, { resize: 'square', size: 448 }],
    [DEFAULT_PREPROCESSING, { resize: 'fit' }],
    [DEFAULT_PREPROCESSING, { resample: 'nearest' }],
    [DEFAULT_PREPROCESSING, { normalization: { mean: [0, 0, 0] } }],
    [DEFAULT_PREPROCESSING, { normalization: { rescaleFactor: 1 } }],
    [DEFAULT_PREPROCESSING, { resize: 'fit', normalization: HALF }],
    [half, {}],
    [half, { cropSize: 448 }],
    [square, {}],
    [square, { resize: 'crop' }],
    [square, { resize: 'square' }], // 448 × 448 for this model, 224 × 224 by default
    [timm, {}],
    [{ ...timm, crop: { height: 224, width: 448 } }, {}],
    [{ ...square, resize: undefined }, {}],
  ];
  const texts = await Promise.all(looks.map(([preprocessing, options]) => textOf(preprocessing, options)));
  expect(new Set(texts).size).toBe(texts.length);
});

test('a normalization has one text for any order of its keys; unsupported values are refused', async () => {
  const mean = [0.5, 0.5, 0.5];
  const std = [0.25, 0.25, 0.25];
  const one = await textOf(undefined, { normalization: { mean, std, rescaleFactor: undefined } });
  expect(one).toContain('0.25');
  expect(await textOf(undefined, { normalization: { std, mean } })).toBe(one);
  for (const resize of [null, () => 1, Symbol('s'), new Map(), [null], { a: new Date() }])
    await expect(textOf(undefined, { resize })).rejects.toMatchObject({ code: 'INDEX_OPTIONS' });
});
