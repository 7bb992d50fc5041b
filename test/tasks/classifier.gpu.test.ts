// Logits of classifiers loaded from checkpoint files, compared with Python (scripts/make-fixtures/make_heads.py,
// make_timm_head.py).
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { huggingFaceTensors } from '../../src/weights/huggingFace.ts';
import { DINOv2, type Classification, type ProblemType } from '../../src/index.ts';
import { configJson } from '../../src/model/configJson.ts';
import { parameters } from '../../src/model/parameters.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { fileOf, pixelsOf, tinyConfig } from '../model/outputs.ts';
import { FP32_MAX_ERROR } from '../tolerance.ts';

const read = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../fixtures/heads/${name}.json`, import.meta.url), 'utf8'));

const { cases, ...size } = read('transformers') as {
  readonly height: number;
  readonly width: number;
  readonly cases: readonly {
    readonly name: string;
    readonly problemType: ProblemType | null;
    readonly numClasses: number;
    readonly top: readonly Classification[];
  }[];
};
const config = { ...tinyConfig('plain'), depth: 3 };
const backbone = huggingFaceTensors(parameters(config)).map(({ name, shape }) => ({
  name: `dinov2.${name}`,
  shape,
  formula: name,
}));

const options = { device: await sharedDevice(), selfTest: false } as const;

test.each(cases)('transformers: $name', async ({ problemType, numClasses, top }) => {
  const id2label = Object.fromEntries(Array.from({ length: numClasses }, (_, i) => [i, `kind ${i}`]));
  using model = await DINOv2.fromFiles(
    {
      config: { ...configJson(config), id2label, problem_type: problemType },
      weights: fileOf([
        { name: 'classifier.weight', shape: [numClasses, 256] },
        { name: 'classifier.bias', shape: [numClasses] },
        ...backbone,
      ]),
    },
    options,
  );
  const classifier = model.classifier!;
  expect(classifier).toMatchObject({ numClasses, problemType: problemType ?? undefined });
  using features = await model.forward(pixelsOf(size.height, size.width, 1), size);
  const [logits] = await classifier.logits(features);
  const order = Array.from(logits!.keys()).sort((a, b) => logits![b]! - logits![a]!);
  expect(order.slice(0, top.length)).toEqual(top.map(({ index }) => index));
  for (const { index, label, logit } of top) {
    expect(classifier.labels[index]).toBe(label);
    expect(Math.abs(logits![index]! - logit)).toBeLessThanOrEqual(FP32_MAX_ERROR);
  }
});

test("timm: the model's own head, on the class token", async () => {
  const expected = read('timm') as {
    readonly height: number;
    readonly width: number;
    readonly logits: readonly number[];
    readonly tensors: Readonly<Record<string, number[]>>;
  };
  const weights = fileOf(Object.entries(expected.tensors).map(([name, shape]) => ({ name, shape })));
  using model = await DINOv2.fromFiles({ weights }, options);
  const classifier = model.classifier!;
  expect(classifier).toMatchObject({ numClasses: 4, blocks: 1, layers: [], scoreFunction: 'softmax' });
  const { height, width } = expected;
  using features = await model.forward(pixelsOf(height, width, 1), { height, width });
  const [logits] = await classifier.logits(features);
  for (const [i, logit] of expected.logits.entries())
    expect(Math.abs(logits![i]! - logit)).toBeLessThanOrEqual(FP32_MAX_ERROR);
});

test("a linear_head with 1,000 classes has ImageNet's names, a classifier with 1,000 classes does not", async () => {
  const ours = parameters(config).map(({ name, shape }) => ({ name: `backbone.${name}`, shape }));
  const labelOf = async (
    head: string,
    tensors: Parameters<typeof fileOf>[0],
    json?: object,
  ): Promise<string | undefined> => {
    using model = await DINOv2.fromFiles(
      {
        config: json,
        weights: fileOf([
          ...tensors,
          { name: `${head}.weight`, shape: [1000, 256] },
          { name: `${head}.bias`, shape: [1000] },
        ]),
      },
      options,
    );
    return model.classifier!.labels[1];
  };
  expect(await labelOf('linear_head', ours)).toBe('goldfish, Carassius auratus');
  expect(await labelOf('classifier', backbone, configJson(config))).toBe('LABEL_1');
});
