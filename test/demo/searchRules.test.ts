// Rules of the search page: where results end, which copy is best, models in words, addresses.
import { describe, expect, test } from 'vitest';
import { addressText, readAddress } from '../../demo/search/address.js';
import { bestOf } from '../../demo/search/best.js';
import { countFrom, largestDrop, scoreText, scoreTexts, thresholdOf } from '../../demo/search/cut.js';
import { choiceFor, madeByInWords, modelIdOf } from '../../demo/search/modelWords.js';
import type { ModelChoice } from '../../demo/shared/modelChoice.js';

describe('where the list of results ends', () => {
  test.each<[string, number[], number]>([
    ['after the largest drop', [0.9, 0.88, 0.85, 0.6, 0.59, 0.58, 0.57, 0.56], 3],
    ['not at a larger drop among the worst half', [0.9, 0.88, 0.8, 0.79, 0.78, 0.77, 0.76, -0.5], 2],
    ['at the first of equal drops', [0.875, 0.75, 0.625, 0.5, 0.375, 0.25], 1],
    ['nowhere if there are fewer than six', [0.9, 0.1, 0, 0, 0], 5],
    ['nowhere if all scores are equal', [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 7],
    ['nowhere without results', [], 0],
  ])('%s', (_, scores, count) => {
    expect(largestDrop(scores)).toBe(count);
    expect(countFrom(scores, thresholdOf(scores, count))).toBe(count);
  });

  test('the threshold has as few decimals as separate the results, and is not above the last of them', () => {
    expect(thresholdOf([0.9, 0.6278, 0.55], 2)).toBe(0.62);
    expect(thresholdOf([0.9, 0.6278, 0.6215], 2)).toBe(0.627);
    expect(thresholdOf([0.9, 0.62781, 0.62779], 2)).toBe(0.6278);
    expect(thresholdOf([0.62781001, 0.62781], 1)).toBe(0.62781001);
    expect(thresholdOf([-0.125, -0.5], 1)).toBe(-0.13);
  });

  test('scores are written with two decimals or with those that matter', () => {
    expect([1, 0.5, 0.62, 0.627, 0.62781, -0.1].map(scoreText)).toEqual([
      '1.00',
      '0.50',
      '0.62',
      '0.627',
      '0.6278',
      '-0.10',
    ]);
    expect([scoreTexts(0.81, 0.6), scoreTexts(0.9871, 0.9869)]).toEqual([
      ['0.81', '0.60'],
      ['0.9871', '0.9869'],
    ]);
  });
});

describe('the best copy', () => {
  const copy = (id: string, width: number, height: number, size: number, lastModified: number) => ({
    id,
    file: { width, height, size, lastModified },
  });
  test('has the most pixels, then is the largest file, then the oldest, then the first', () => {
    expect(bestOf([copy('a', 10, 10, 9, 1), copy('b', 20, 6, 2, 3), copy('c', 10, 11, 5, 2)])).toBe('b');
    expect(bestOf([copy('a', 10, 10, 9, 1), copy('b', 20, 5, 12, 3)])).toBe('b');
    expect(bestOf([copy('a', 10, 10, 9, 4), copy('b', 10, 10, 9, 3)])).toBe('b');
    expect(bestOf([copy('a', 10, 10, 9, 3), copy('b', 10, 10, 9, 3)])).toBe('a');
    expect(bestOf([{ id: 'unknown', file: undefined }, copy('b', 1, 1, 1, 9)])).toBe('b');
  });
});

describe('models in words', () => {
  const made = (id: string, dim: number) => ({ model: { id, fingerprint: 'f', preprocessing: '' }, dim });
  test.each<[Omit<ModelChoice, 'dtype'>, string]>([
    [{ size: 'small', registers: false, weights: 'hub' }, 'ViT-S, trained'],
    [{ size: 'base', registers: true, weights: 'hub' }, 'ViT-B with registers, trained'],
    [{ size: 'large', registers: true, weights: 'synthetic' }, 'ViT-L with registers, not trained'],
    [{ size: 'giant', registers: false, weights: 'hub' }, 'ViT-g, trained'],
    [{ size: 'small', registers: false, weights: 'hub', classes: true }, 'ViT-S with classes, trained'],
  ])('%o is stored and named', (choice, words) => {
    const whole: ModelChoice = { ...choice, dtype: 'fp32' };
    const header = made(modelIdOf(whole), 384);
    expect(choiceFor(header)).toEqual(whole);
    expect(madeByInWords(header)).toBe(words);
  });

  test('collections of earlier versions and of files are named', () => {
    expect(madeByInWords(made('synthetic, not trained', 768))).toBe('ViT-B, not trained');
    expect(madeByInWords(made('synthetic, not trained', 128))).toBe('the file synthetic, not trained');
    expect([madeByInWords(made('mine.safetensors', 384)), choiceFor(made('mine.safetensors', 384))]).toEqual([
      'the file mine.safetensors',
      undefined,
    ]);
    expect(madeByInWords({ model: undefined, dim: 384 })).toBe('an unknown model');
  });
});

describe('addresses', () => {
  test('keep the whole state', () => {
    const state = {
      view: 'groups',
      q: 'Holiday/a & b, ü.jpg',
      box: { left: 0.25, top: 0.125, width: 0.5, height: 0.3333 },
      from: 0.625,
      likeness: 0.97,
      groups: 5,
    } as const;
    const text = addressText(state);
    expect(text).toBe(
      '?view=groups&q=Holiday/a%20%26%20b,%20%C3%BC.jpg&box=25,12.5,50,33.33&from=0.625&likeness=0.97&groups=5',
    );
    expect(readAddress(text)).toEqual(state);
    expect([addressText({}), addressText({ view: 'all' })]).toEqual(['', '']);
  });

  test.each([
    '?view=none&groups=99&likeness=2',
    '?box=0,0,10,10',
    '?from=0.5',
    '?q=a&box=90,0,20,10',
    '?q=a&box=1,2,3',
    '?q=a&from=x',
    '',
  ])('what is not known or not possible is left out: %s', (search) => {
    const { q, ...rest } = readAddress(search);
    expect(Object.values(rest).filter((value) => value !== undefined)).toEqual([]);
    expect(q).toBe(search.includes('q=a') ? 'a' : undefined);
  });
});
