// Scores, labels and order of a classifier for given logits, without a model.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { HeadModule, LinearHead } from '../../src/weights/head.ts';
import { encodeSafetensorsHeader } from '../../src/safetensors.ts';
import { configOf } from '../../src/model/config.ts';
import type { Features } from '../../src/features.ts';
import {
  ImageClassifier,
  type Classification,
  type ClassifierModel,
  type ClassLabels,
} from '../../src/tasks/classifier.ts';
import type { ProblemType } from '../../src/tasks/classLabels.ts';
import { labelsOfConfig } from '../../src/tasks/classLabels.ts';
import { imagenetLabels } from '../../src/tasks/imagenetLabels.ts';

interface Expected {
  readonly name: string;
  readonly problemType: ProblemType | null;
  readonly numClasses: number;
  readonly top: readonly Classification[];
}
const { cases } = JSON.parse(
  readFileSync(new URL('../fixtures/heads/transformers.json', import.meta.url), 'utf8'),
) as { readonly cases: readonly Expected[] };

const embedDim = 384;
/** A fake model whose features for every image are one patch of zeros. */
const model: ClassifierModel = {
  config: configOf('small'),
  featuresBySize: async (images) => [
    {
      indices: images.map((_, i) => i),
      features: {
        embedDim,
        depth: 12,
        batch: images.length,
        rows: 1,
        cols: 1,
        getIntermediateLayers: async () => [
          [new Float32Array(images.length * embedDim), new Float32Array(images.length * embedDim)],
        ],
        dispose() {},
      } as unknown as Features,
    },
  ],
};

const headOf = (logits: readonly number[], module: HeadModule = 'classifier'): LinearHead => ({
  weight: new Float32Array(logits.length * 2 * embedDim),
  bias: Float32Array.from(logits),
  numClasses: logits.length,
  inFeatures: 2 * embedDim,
  module,
  names: [`${module}.weight`, `${module}.bias`],
});
const classify = (
  logits: readonly number[],
  problemType?: ProblemType,
  { labels, topK = 5 }: { labels?: ClassLabels; topK?: number } = {},
): Promise<Classification[]> =>
  new ImageClassifier(model, headOf(logits), labels, problemType).classify(new Blob(), { topK });

describe('scores', () => {
  test.each(cases.filter(({ numClasses, top }) => numClasses === top.length))(
    'equal Python: $name',
    async ({ problemType, numClasses, top }) => {
      const logits: number[] = [];
      for (const { index, logit } of top) logits[index] = logit;
      const labels = Array.from({ length: numClasses }, (_, i) => `kind ${i}`);
      const found = await classify(logits, problemType ?? undefined, { labels });
      expect(found.map(({ label, index }) => [label, index])).toEqual(
        top.map(({ label, index }) => [label, index]),
      );
      for (const [i, { score, logit }] of found.entries()) {
        expect(Math.abs(score - top[i]!.score)).toBeLessThan(1e-7); // logits are float32 here
        expect(Math.abs(logit - top[i]!.logit)).toBeLessThan(1e-7);
      }
    },
  );

  test.each([
    [undefined, 3, 'softmax'],
    [undefined, 1, 'sigmoid'],
    ['single_label_classification', 3, 'softmax'],
    ['single_label_classification', 1, 'sigmoid'],
    ['multi_label_classification', 3, 'sigmoid'],
    ['multi_label_classification', 1, 'sigmoid'],
    ['regression', 3, 'none'],
    ['regression', 1, 'none'],
  ] as const)('%s of %i outputs: %s', (problemType, count, scoreFunction) => {
    const head = headOf(Array.from({ length: count }, () => 0));
    expect(new ImageClassifier(model, head, undefined, problemType)).toMatchObject({
      problemType,
      scoreFunction,
    });
  });

  test('are finite for logits of any size; classes with equal scores are ordered by their logits', async () => {
    const logits = [-1e30, 800, 3e38, -800, 0, 801, -3e38, 800];
    const order = [2, 5, 1, 7, 4, 3, 0, 6];
    for (const problemType of [undefined, 'multi_label_classification', 'regression'] as const) {
      const found = await classify(logits, problemType, { topK: 100 });
      expect(found.map(({ index }) => index)).toEqual(order);
      for (const { score } of found) expect(Number.isFinite(score)).toBe(true);
      expect(found.map(({ score }) => score)).toEqual(found.map(({ score }) => score).sort((a, b) => b - a));
    }
    const sigmoid = await classify(logits, 'multi_label_classification', { topK: 100 });
    expect(sigmoid.map(({ score }) => score)).toEqual([1, 1, 1, 1, 0.5, 0, 0, 0]);
    expect((await classify([-40], undefined))[0]!.score).toBeCloseTo(Math.exp(-40), 30);
  });

  test('a NaN logit is an error', async () => {
    const head = { ...headOf([1, 2]), bias: Float32Array.of(1, NaN) };
    await expect(new ImageClassifier(model, head, undefined).classify(new Blob())).rejects.toMatchObject({
      code: 'CHECKPOINT_NOT_FINITE',
      message: expect.stringMatching(/found NaN for class 1/) as string,
    });
  });

  test('work for 10,000 classes', async () => {
    const logits = Array.from({ length: 10_000 }, (_, i) => ((i * 7919) % 10_000) / 1000);
    const found = await classify(logits, undefined, { topK: 3 });
    expect(found.map(({ logit }) => logit)).toEqual([9.999, 9.998, 9.997].map(Math.fround));
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
    expect(found[0]!.score).toBeCloseTo(Math.exp(9.999) / total, 9);
    expect(found[0]!.label).toBe(`LABEL_${logits.indexOf(9.999)}`);
  });
});

/** A file with only a head, whose weights are zeros. */
function fileOf(prefix: string, numClasses: number): Uint8Array {
  const { bytes, header } = encodeSafetensorsHeader([
    [`${prefix}weight`, { dtype: 'F16', shape: [numClasses, 2 * embedDim] }],
    [`${prefix}bias`, { dtype: 'F16', shape: [numClasses] }],
  ]);
  const file = new Uint8Array(header.fileBytes);
  file.set(bytes);
  return file;
}

describe('class names', () => {
  test("are ImageNet's for Meta's linear heads only", async () => {
    expect(imagenetLabels).toHaveLength(1000);
    expect([0, 134, 263, 517, 638, 639, 643, 999].map((i) => imagenetLabels[i])).toEqual([
      'tench, Tinca tinca',
      'crane',
      'Pembroke, Pembroke Welsh corgi',
      'crane',
      'maillot',
      'maillot, tank suit',
      'mask',
      'toilet tissue, toilet paper, bathroom tissue',
    ]);
    const labelsOf = async (prefix: string, numClasses: number, labels?: ClassLabels): Promise<string> =>
      (await ImageClassifier.fromFiles(model, { weights: fileOf(prefix, numClasses), labels })).labels[1]!;
    expect(await labelsOf('', 1000)).toBe('goldfish, Carassius auratus');
    expect(await labelsOf('linear_head.', 1000)).toBe('goldfish, Carassius auratus');
    expect(await labelsOf('classifier.', 1000)).toBe('LABEL_1');
    expect(await labelsOf('linear.', 1000)).toBe('LABEL_1');
    expect(await labelsOf('', 999)).toBe('LABEL_1');
    expect(
      await labelsOf(
        'linear_head.',
        1000,
        Array.from({ length: 1000 }, (_, i) => `own ${i}`),
      ),
    ).toBe('own 1');
  });

  test('are read from config.json if it has one for each class', () => {
    expect(labelsOfConfig({ 0: 'cat', 1: 'dog' }, 2)).toEqual(['cat', 'dog']);
    expect(labelsOfConfig({ '1': 'dog', '0': 'cat' }, 2)).toEqual(['cat', 'dog']);
    expect(labelsOfConfig({ '0': 7, '1': 'dog' }, 2)).toEqual(['7', 'dog']);
    expect(labelsOfConfig(['cat', 'dog'] as never, 2)).toEqual(['cat', 'dog']);
    expect(labelsOfConfig({ 0: 'only' }, 1)).toEqual(['only']);
    for (const labels of [
      undefined,
      {},
      { 0: 'cat' },
      { 0: 'cat', 2: 'dog' },
      { 1: 'cat', 2: 'dog' },
      { 0: 'cat', 1: null },
      { 0: 'cat', 1: 'dog', 2: 'cow' },
      { 0: 'cat', '00': 'dog' },
    ])
      expect(labelsOfConfig(labels, 2)).toBeUndefined();
  });
});

test('problemType is an option of fromFiles, and an unknown value is an error', async () => {
  const weights = fileOf('linear.', 3);
  expect(
    await ImageClassifier.fromFiles(model, { weights, problemType: 'multi_label_classification' }),
  ).toMatchObject({ scoreFunction: 'sigmoid', problemType: 'multi_label_classification' });
  await expect(
    ImageClassifier.fromFiles(model, { weights, problemType: 'multilabel' as never }),
  ).rejects.toMatchObject({ name: 'OptionError', code: 'OPTION_VALUE' });
});
