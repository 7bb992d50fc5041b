// Every family of docs/guide/checkpoints.md: supported ones give the same numbers as Python, others are rejected with a reason.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { DINOv2, DINOv2Error } from '../../src/index.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { pixelsOf } from '../gpu/tiny.ts';
import { FP32_MAX_ERROR, maxError } from '../tolerance.ts';
import { families, namesOf, outputsOf, picture, weightsOf, type Family } from './fixture.ts';

const device = await sharedDevice();

function load(family: Family): Promise<DINOv2> {
  const { config, preprocessor, options } = family;
  const files = {
    weights: weightsOf(family),
    ...(config && { config }),
    ...(preprocessor && { preprocessor }),
  };
  return DINOv2.fromFiles(files, { ...options, device, selfTest: false });
}

const failureOf = (promise: Promise<DINOv2>): Promise<unknown> =>
  promise.then(
    (model) => {
      model.dispose();
      return 'it loaded';
    },
    (error: unknown) => error,
  );

/** The rows of these tokens from (numTokens, embedDim). */
function rowsOf(hidden: Float32Array, tokens: readonly number[], embedDim: number): Float32Array {
  const out = new Float32Array(tokens.length * embedDim);
  tokens.forEach((token, i) =>
    out.set(hidden.subarray(token * embedDim, (token + 1) * embedDim), i * embedDim),
  );
  return out;
}

const containing = (words: string): string => expect.stringContaining(words) as string;

const accepted = families.filter(({ refused }) => !refused);
const refused = families.filter((family) => family.refused);

describe.each(accepted)('$name', (family) => {
  const expected = outputsOf(family);
  let model: DINOv2;
  beforeAll(async () => {
    model = await load(family);
  });
  afterAll(() => model?.dispose());

  test.each(family.forwards!)('$height × $width: the same numbers as Python', async (forward) => {
    const { height, width, numTokens, tokens } = forward;
    using features = await model.forward(pixelsOf(height, width), { height, width });
    const { rows, cols, embedDim } = features;
    expect(features.numTokens).toBe(numTokens);
    expect(numTokens).toBe(1 + model.config.numRegisterTokens + rows * cols);
    const found = rowsOf(await features.lastHiddenState(), tokens, embedDim);
    expect(maxError(found, expected.get(`${height}x${width}`)!)).toBeLessThanOrEqual(FP32_MAX_ERROR);
  });

  const images = family.image ? [family.image] : [];
  test.each(images)('an image: the same pixels and numbers as Python', async (given) => {
    const { height, width, inputHeight, inputWidth, numTokens, tokens, look } = given;
    const image = picture(height, width);
    const pixels = await model.pixels(image, look);
    expect(pixels).toMatchObject({ height: inputHeight, width: inputWidth });
    const step = Math.floor(pixels.data.length / 61);
    const sample = pixels.data.filter((_, i) => i % step === 0);
    expect(maxError(sample, expected.get('image.pixels')!)).toBe(0);
    using features = await model.features(image, look);
    expect(features.numTokens).toBe(numTokens);
    const found = rowsOf(await features.lastHiddenState(), tokens, features.embedDim);
    expect(maxError(found, expected.get('image')!)).toBeLessThanOrEqual(FP32_MAX_ERROR);
  });

  test.each(expected.has('logits') ? images : [])(
    'classes: the same logits and scores as Python',
    async ({ height, width }) => {
      const logits = expected.get('logits')!;
      const found = await model.classifier!.classify(picture(height, width), { topK: logits.length });
      found.sort((a, b) => a.index - b.index);
      const values = (key: 'logit' | 'score'): number[] => found.map((each) => each[key]);
      expect(maxError(values('logit'), logits)).toBeLessThanOrEqual(FP32_MAX_ERROR);
      expect(maxError(values('score'), expected.get('scores')!)).toBeLessThanOrEqual(FP32_MAX_ERROR);
    },
  );

  test('reports what was loaded, which tensors were left out, and the preprocessing', () => {
    const { dialect, prefix, setAside, assumed, preprocessing } = family.expect!;
    expect(model).toMatchObject({
      loaded: {
        dialect,
        prefix,
        ...(assumed && {
          assumed: assumed.length === 0 ? [] : expect.arrayContaining(assumed.map(containing)),
        }),
        ...(setAside && { setAside: namesOf(family).filter((name) => setAside.includes(name)) }),
      },
      ...(preprocessing && { preprocessing }),
    });
  });
});

describe.each(refused)('$name', (family) => {
  test('is rejected with a reason', async () => {
    const { error, code, words } = family.refused!;
    const failure = await failureOf(load(family));
    expect(failure).toBeInstanceOf(DINOv2Error);
    expect(failure).toMatchObject({ ...(error && { name: error }), ...(code && { code }) });
    for (const word of words) expect((failure as DINOv2Error).message).toContain(word);
  });
});

describe('a repository without safetensors files', () => {
  test.each([
    { file: 'pytorch_model.bin', words: ['pytorch_model.bin', 'save_file'] },
    { file: 'model.onnx', words: ['ONNX'] },
  ])('but with $file is an error that names the conversion command', async ({ file, words }) => {
    const folder = await mkdtemp(join(tmpdir(), 'dinov2-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const { config } = families.find(({ name }) => name === 'rad-dino')!;
    await writeFile(join(folder, 'config.json'), JSON.stringify(config));
    await writeFile(join(folder, file), new Uint8Array(64));
    const failure = await failureOf(DINOv2.fromPretrained(folder, { device, selfTest: false }));
    expect(failure).toBeInstanceOf(DINOv2Error);
    for (const word of words) expect((failure as DINOv2Error).message).toContain(word);
  });
});
