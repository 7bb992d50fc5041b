import { expect, test } from 'vitest';
import { f32ToF16 } from '../../src/numerics/float16.ts';
import { readHead, watchForHead } from '../../src/weights/head.ts';
import { encodeSafetensorsHeader } from '../../src/safetensors.ts';
import { openTensors } from '../../src/safetensors/tensorStream.ts';
import { scaleName } from '../../src/weights/quantized.ts';
import { syntheticStream, syntheticTensor } from '../../src/weights/synthetic.ts';

const tensors = [
  { name: 'cls_token', shape: [1, 1, 8] },
  { name: 'linear_head.bias', shape: [6] },
  { name: 'linear_head.weight', shape: [6, 16] },
  { name: 'norm.weight', shape: [8] },
];

const widths = { token: 8, pooled: [16, 40] };

test('a head is captured from the stream of a model in pieces of any size, and the stream passes on all tensors', async () => {
  for (const pieceBytes of [4, 20, 4096]) {
    const { stream, head } = watchForHead(syntheticStream(tensors, { pieceBytes }), widths);
    const seen = new Set<string>();
    for await (const { name } of stream.pieces) seen.add(name);
    expect([...seen].sort()).toEqual(tensors.map(({ name }) => name).sort());
    expect(head()).toEqual({
      weight: syntheticTensor('linear_head.weight', [6, 16]),
      bias: syntheticTensor('linear_head.bias', [6]),
      numClasses: 6,
      inFeatures: 16,
      module: 'linear_head',
      names: ['linear_head.weight', 'linear_head.bias'],
    });
  }
});

test('no head is captured if its width is wrong, there are two, or a part is missing', async () => {
  const headOf = (list: typeof tensors, pooled = [16]): unknown =>
    watchForHead(syntheticStream(list), { token: 8, pooled }).head();
  expect(headOf(tensors, [32])).toBeUndefined();
  expect(headOf(tensors.filter(({ name }) => name !== 'linear_head.bias'))).toBeUndefined();
  expect(headOf([...tensors, { name: 'classifier.weight', shape: [6, 16] }])).toBeUndefined();
  expect(headOf(tensors.filter(({ name }) => !name.startsWith('linear')))).toBeUndefined();
});

/** A synthetic stream of tensors with these names. The end of a name decides its shape. */
function beside(names: readonly string[], width = 16): ReturnType<typeof syntheticStream> {
  return syntheticStream(
    names.map((name) => ({
      name,
      shape: name.endsWith('cls_token') ? [1, 1, 8] : name.endsWith('bias') ? [6] : [6, width],
    })),
  );
}
const both = (layer: string): string[] => [`${layer}.weight`, `${layer}.bias`];

test.each([
  ['dinov2.', 'classifier', 'classifier'],
  ['module.dinov2.', 'module.classifier', 'classifier'],
  ['_orig_mod.dinov2_with_registers.', '_orig_mod.classifier', 'classifier'],
  ['model.dinov2.', 'model.classifier', 'classifier'],
  ['dinov2._orig_mod.', 'classifier', 'classifier'],
  ['base_model.model.dinov2.', 'base_model.model.classifier.modules_to_save.default', 'classifier'],
  ['backbone.', 'linear_head', 'linear_head'],
  ['module.backbone.', 'module.linear_head', 'linear_head'],
  ['module.', 'module.linear_head', 'linear_head'],
  ['', 'classifier', 'classifier'],
])('for the model prefix %j the head is %s', (prefix, layer, module) => {
  const others = [
    `${prefix}cls_token`,
    ...both('student.classifier'),
    ...both('base_model.model.classifier.original_module'),
    ...both('teacher.dino_head'),
  ];
  const { shape } = watchForHead(beside([...others, ...both(layer)]), widths, prefix);
  expect(shape).toEqual({ numClasses: 6, inFeatures: 16, module, names: both(layer) });
  expect(watchForHead(beside(others), widths, prefix).shape).toBeUndefined();
});

test('each of two models in a file has its own head', () => {
  const names = ['student', 'teacher'].flatMap((who) => [
    `${who}.dinov2.cls_token`,
    ...both(`${who}.classifier`),
  ]);
  for (const who of ['student', 'teacher'])
    expect(watchForHead(beside(names), widths, `${who}.dinov2.`).shape?.names).toEqual(
      both(`${who}.classifier`),
    );
});

test("timm's own head is a head on the class token; a timm model with another pooling has none", () => {
  const shapeOf = (names: readonly string[], width: number, prefix = ''): unknown =>
    watchForHead(beside(names, width), widths, prefix).shape;
  const timm = ['cls_token', 'blocks.0.norm1.weight', ...both('head')];
  expect(shapeOf(timm, 8)).toMatchObject({ numClasses: 6, inFeatures: 8, module: 'head' });
  expect(
    shapeOf(
      timm.map((name) => `module.${name}`),
      8,
      'module.',
    ),
  ).toMatchObject({ module: 'head', names: both('module.head') });
  expect(shapeOf(timm, 16)).toBeUndefined();
  expect(shapeOf([...timm, 'fc_norm.weight'], 8)).toBeUndefined();
  expect(shapeOf([...timm, 'attn_pool.latent'], 8)).toBeUndefined();
  expect(shapeOf(['cls_token', 'encoder.layer.0.norm1.weight', ...both('head')], 8)).toBeUndefined();
  expect(
    shapeOf(['backbone.cls_token', 'backbone.blocks.0.norm1.weight', ...both('head')], 8, 'backbone.'),
  ).toBeUndefined();
});

test('only a linear layer with a bias, on an input that DINOv2 provides, is captured as a head', () => {
  for (const [names, width] of [
    [both('classifier'), 8], // ambiguous: the class token or another input of this width
    [['classifier.weight'], 16],
    [[...both('classifier.0'), ...both('classifier.3')], 16],
    [[...both('classifier'), ...both('linear_head')], 16],
    [[...both('classifier.modules_to_save.a'), ...both('classifier.modules_to_save.b')], 16],
    [both('dino_head.last_layer'), 16],
  ] as const)
    expect(watchForHead(beside(names, width), widths).shape, names.join()).toBeUndefined();
});

/** A safetensors file of tensors with these element types. */
function fileOf(
  tensors: readonly (readonly [name: string, dtype: string, shape: number[], values: ArrayBufferView])[],
): Uint8Array {
  const { bytes, header } = encodeSafetensorsHeader(
    tensors.map(([name, dtype, shape]) => [name, { dtype, shape }]) as never,
  );
  const out = new Uint8Array(header.fileBytes);
  out.set(bytes);
  for (const [name, , , { buffer, byteOffset, byteLength }] of tensors)
    out.set(new Uint8Array(buffer, byteOffset, byteLength), header.tensors.get(name)!.begin);
  return out;
}

test('F64 is rounded as by PyTorch; int8 is the integer times the scale of its row, in pieces of any size', async () => {
  const f64 = Float64Array.of(1 / 3, -1e-8, 16777217, 0.1, 2, 3);
  const bias = Float64Array.of(0.7, -0.7);
  const wide = await readHead(
    await openTensors(
      fileOf([
        ['classifier.weight', 'F64', [2, 3], f64],
        ['classifier.bias', 'F64', [2], bias],
      ]),
    ),
  );
  expect(wide.weight).toEqual(Float32Array.from(f64));
  expect(wide.bias).toEqual(Float32Array.from(bias));

  const integers = Int8Array.from({ length: 96 }, (_, i) => ((i * 53) % 255) - 127);
  const scales = Float32Array.of(0.01, 0.25, 3e-5, 1, 0.7, 0.125);
  const file = fileOf([
    ['linear_head.weight', 'I8', [6, 16], integers],
    [scaleName('linear_head.weight'), 'F32', [6], scales],
    ['linear_head.bias', 'F32', [6], new Float32Array(6)],
  ]);
  for (const size of [1, 7, 4096]) {
    let at = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (at >= file.length) return controller.close();
        controller.enqueue(file.slice(at, (at += size)));
      },
    });
    const { stream, head } = watchForHead(await openTensors(body), widths);
    for await (const _ of stream.pieces);
    expect(head()!.weight).toEqual(
      Float32Array.from(integers, (value, i) => value * scales[Math.floor(i / 16)]!),
    );
  }
});

test('a file with only a head may have wrapper prefixes in its names', async () => {
  const head = (layer: string): Promise<unknown> =>
    openTensors(
      fileOf([
        [`${layer}weight`, 'F32', [2, 3], new Float32Array(6)],
        [`${layer}bias`, 'F32', [2], new Float32Array(2)],
      ]),
    ).then(readHead);
  for (const [layer, module] of [
    ['', ''],
    ['module.', ''],
    ['linear.', 'linear'],
    ['module._orig_mod.linear_head.', 'linear_head'],
    ['base_model.model.classifier.modules_to_save.default.', 'classifier'],
  ] as const)
    expect(await head(layer)).toMatchObject({ module, numClasses: 2, inFeatures: 3 });
  for (const layer of ['head.', 'classifier.0.', 'teacher.classifier.'])
    await expect(head(layer)).rejects.toMatchObject({ code: 'CHECKPOINT_TENSORS' });
});

test('F16 is read; integers, NaN and a truncated file are rejected', async () => {
  const file = (dtype: string, weight: Uint8Array): Uint8Array => {
    const { bytes, header } = encodeSafetensorsHeader([
      ['weight', { dtype, shape: [2, 3] }],
      ['bias', { dtype: 'F32', shape: [2] }],
    ] as never);
    const out = new Uint8Array(header.fileBytes);
    out.set(bytes);
    out.set(weight, header.tensors.get('weight')!.begin);
    out.set(new Uint8Array(Float32Array.of(0.5, -0.5).buffer), header.tensors.get('bias')!.begin);
    return out;
  };
  const halves = new Uint16Array(6);
  f32ToF16(Float32Array.of(1, 2, 3, -4, -5, -6), halves);
  const read = async (bytes: Uint8Array): Promise<unknown> => readHead(await openTensors(bytes));
  const f16 = file('F16', new Uint8Array(halves.buffer));
  expect(await read(f16)).toEqual({
    weight: Float32Array.of(1, 2, 3, -4, -5, -6),
    bias: Float32Array.of(0.5, -0.5),
    numClasses: 2,
    inFeatures: 3,
    module: '',
    names: ['weight', 'bias'],
  });
  await expect(read(file('I32', new Uint8Array(24)))).rejects.toMatchObject({ code: 'CHECKPOINT_DTYPE' });
  await expect(read(file('F32', new Uint8Array(Float32Array.of(0, 0, NaN, 0, 0, 0).buffer)))).rejects.toThrow(
    /weight: expected finite weights, found NaN at element 2/,
  );
  await expect(read(f16.subarray(0, f16.length - 2))).rejects.toMatchObject({
    name: expect.stringMatching(/Error$/) as string,
  });
});
