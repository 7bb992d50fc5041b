// Experiment: the smallest cosine of a token if linear layers multiply int8 by int8 (int8-kernel.mjs), compared with the
// fixtures of transformers. Emulated in float64 on the CPU; layers other than linear ones are not rounded.
//
//   node bench/experiments/int8-accuracy.mjs [--fixtures tiny,massive,small,base,large]
//
// Columns: only the weights are int8 (the library's `int8`); and x too, with a scale for each token and 64, 32 or 16
// values of k.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root, source } from '../load-source.mjs';

const { values: options } = parseArgs({
  options: { fixtures: { type: 'string', default: 'tiny,massive,small' } },
});
const load = async (...paths) => Object.assign({}, ...(await Promise.all(paths.map(source))));
const { configOf, parameters, huggingFaceTensors, syntheticTensor, interpolatePosEmbed, parseSafetensors } =
  await load(
    'src/model/config.ts',
    'src/model/parameters.ts',
    'src/weights/huggingFace.ts',
    'src/weights/synthetic.ts',
    'src/model/posEmbed.ts',
    'src/safetensors.ts',
  );
const { patchEmbed, assembleTokens, layerNorm, attention, gelu, silu, minCosine } = await load(
  'test/reference/patch_embed.ts',
  'test/reference/assemble_tokens.ts',
  'test/reference/layer_norm.ts',
  'test/reference/attention.ts',
  'test/reference/activation.ts',
  'test/tolerance.ts',
);

/** Rounds parts of `length` values to int8 with a scale for each part, and back. */
function rounded(values, length) {
  const out = new Float64Array(values.length);
  for (let begin = 0; begin < values.length; begin += length) {
    let largest = 0;
    const end = Math.min(begin + length, values.length);
    for (let i = begin; i < end; i++) largest = Math.max(largest, Math.abs(values[i]));
    const scale = largest / 127;
    for (let i = begin; i < end; i++) out[i] = scale === 0 ? 0 : Math.round(values[i] / scale) * scale;
  }
  return out;
}

/** Rounds the rows of x in parts of `part` values, of which the last may be shorter. */
function roundedRows(x, inFeatures, part) {
  if (inFeatures % part === 0) return rounded(x, part);
  const out = new Float64Array(x.length);
  for (let row = 0; row < x.length; row += inFeatures)
    out.set(rounded(x.subarray(row, row + inFeatures), part), row);
  return out;
}

function linear(x, rows, weight, bias) {
  const columns = bias.length;
  const depth = x.length / rows;
  const out = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row += 4) {
    const at = [0, 1, 2, 3].map((i) => Math.min(row + i, rows - 1));
    const [a, b, c, d] = at.map((each) => each * depth);
    for (let column = 0; column < columns; column++) {
      let [sumA, sumB, sumC, sumD] = [0, 0, 0, 0];
      for (let k = 0, w = column * depth; k < depth; k++, w++) {
        const value = weight[w];
        sumA += x[a + k] * value;
        sumB += x[b + k] * value;
        sumC += x[c + k] * value;
        sumD += x[d + k] * value;
      }
      [sumA, sumB, sumC, sumD].forEach((sum, i) => (out[at[i] * columns + column] = sum + bias[column]));
    }
  }
  return out;
}

/** The last hidden state. @param part values of k for each scale of x; undefined: x is not rounded */
function forward({ config, weight, matrix, pixels, batch, rows, cols }, part) {
  const { embedDim, depth, numHeads, patchSize, imageSize, numRegisterTokens, layerNormEps } = config;
  const affine = (name) => [weight(`${name}.weight`), weight(`${name}.bias`)];
  const table = weight('pos_embed');
  const nativeGrid = Math.floor(imageSize / patchSize);
  const grid = { embedDim, nativeGrid, rows, cols, convention: config.posEmbed };
  const numTokens = batch * (1 + numRegisterTokens + rows * cols);
  let x = Float64Array.from(
    assembleTokens(
      { batch, numPatches: rows * cols, embedDim, numRegisterTokens },
      patchEmbed({ batch, rows, cols, embedDim, patchSize }, pixels, ...affine('patch_embed.proj')),
      weight('cls_token'),
      Float32Array.from([...table.subarray(0, embedDim), ...interpolatePosEmbed(table, grid)]),
      numRegisterTokens > 0 ? weight('register_tokens') : undefined,
    ),
  );
  const norm = (name) => layerNorm(numTokens, embedDim, layerNormEps, x, ...affine(name));
  const product = (name, from) =>
    linear(
      part ? roundedRows(from, from.length / numTokens, part) : from,
      numTokens,
      matrix(`${name}.weight`),
      weight(`${name}.bias`),
    );
  const add = (name, gamma, from) => {
    const factors = weight(`${gamma}.gamma`);
    const all = product(name, from);
    return x.map((value, i) => value + factors[i % embedDim] * all[i]);
  };
  for (let i = 0; i < depth; i++) {
    const block = `blocks.${i}`;
    const qkv = product(`${block}.attn.qkv`, norm(`${block}.norm1`));
    x = add(`${block}.attn.proj`, `${block}.ls1`, attention(batch, numTokens / batch, numHeads, qkv));
    const normed = norm(`${block}.norm2`);
    if (config.ffn === 'mlp') {
      const hidden = product(`${block}.mlp.fc1`, normed).map(gelu);
      x = add(`${block}.mlp.fc2`, `${block}.ls2`, hidden);
    } else {
      const both = product(`${block}.mlp.w12`, normed);
      const half = both.length / numTokens / 2;
      const hidden = new Float64Array(numTokens * half);
      for (let at = 0; at < hidden.length; at++) {
        const gate = Math.floor(at / half) * 2 * half + (at % half);
        hidden[at] = silu(both[gate]) * both[gate + half];
      }
      x = add(`${block}.mlp.w3`, `${block}.ls2`, hidden);
    }
  }
  return layerNorm(numTokens, embedDim, layerNormEps, x, ...affine('norm'));
}

/** The weights of a synthetic model by our names; `matrix` gives them rounded to int8. */
function weightsOf(config, edits = []) {
  const all = new Map(parameters(config).map((parameter) => [parameter.name, parameter]));
  const order = ['query', 'key', 'value'];
  const rank = ({ name }) => order.findIndex((part) => name.includes(part));
  const made = new Map();
  const weight = (name) => {
    if (made.has(name)) return made.get(name);
    const tensors = huggingFaceTensors([all.get(name)]).sort((a, b) => rank(a) - rank(b));
    const parts = tensors.map((tensor) => {
      const values = syntheticTensor(tensor.name, tensor.shape);
      for (const edit of edits) if (edit.name === tensor.name) values[edit.index] = edit.value;
      return values;
    });
    const values = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
    parts.reduce((at, each) => (values.set(each, at), at + each.length), 0);
    made.set(name, values);
    return values;
  };
  const roundedMatrices = new Map();
  const matrix = (name) => {
    const values = weight(name);
    const bias = weight(name.replace(/weight$/, 'bias'));
    if (!roundedMatrices.has(name)) roundedMatrices.set(name, rounded(values, values.length / bias.length));
    return roundedMatrices.get(name);
  };
  return { weight, matrix };
}

const fixture = (path) => {
  const bytes = new Uint8Array(readFileSync(join(root, 'test/fixtures', path)));
  const { begin, end } = parseSafetensors(bytes).tensors.get('last_hidden_state');
  return new Float32Array(bytes.slice(begin, end).buffer);
};
const tiny = (registers, ffn, hiddenFeatures) => ({
  ...configOf('small', { registers }),
  embedDim: 128,
  numHeads: 2,
  depth: 2,
  imageSize: 70,
  ffn,
  hiddenFeatures,
});
const tinyConfigs = {
  plain: tiny(false, 'mlp', 512),
  registers: tiny(true, 'mlp', 512),
  swiglu: tiny(false, 'swiglu', 344),
};
const cases = {
  tiny: Object.entries(tinyConfigs).map(([kind, config]) => ({
    name: `tiny-${kind}, 56 × 98`,
    config,
    height: 56,
    width: 98,
    batch: 2,
    file: `reference/tiny-${kind}/expected.56x98.b2.safetensors`,
  })),
  massive: Object.entries(tinyConfigs).map(([kind, config]) => {
    const second = `encoder.layer.1.mlp.${kind === 'swiglu' ? 'weights_out' : 'fc2'}.bias`;
    const edits = [
      { name: 'encoder.layer.0.attention.output.dense.bias', index: 17, value: 3000 },
      { name: second, index: 5, value: -2000 },
      { name: second, index: 90, value: 900 },
    ];
    return {
      name: `massive, ${kind}`,
      config: { ...config, depth: 4 },
      edits,
      quiet: true,
      height: 56,
      width: 98,
      batch: 2,
      file: `massive/${kind}.expected.56x98.b2.safetensors`,
    };
  }),
};
for (const size of ['small', 'base', 'large'])
  cases[size] = [
    {
      name: `${size}, 224`,
      config: configOf(size),
      height: 224,
      width: 224,
      batch: 1,
      file: `reference/${size}.expected.224x224.safetensors`,
    },
  ];

/** The channels with massive values, and the elements of the biases that make them (test/fixtures/massive/README.md). */
const MASSIVE = [5, 17, 90];
const withoutMassive = (values) => values.map((value, i) => (MASSIVE.includes(i % 128) ? 0 : value));
const show = (cosine) => `1 − ${(1 - cosine).toExponential(1)}`;
console.log('| fixture | weights only | x: 64 values of k for a scale | 32 | 16 |\n|---|---|---|---|---|');
for (const name of options.fixtures.split(','))
  for (const { name: label, config, edits, height, width, batch, file, quiet } of cases[name]) {
    const { weight, matrix } = weightsOf(config, edits);
    const model = {
      config,
      weight,
      matrix,
      batch,
      pixels: syntheticTensor(`pixel_values.${height}x${width}`, [batch, 3, height, width]),
      rows: height / config.patchSize,
      cols: width / config.patchSize,
    };
    const expected = fixture(file);
    const cells = [undefined, 64, 32, 16].map((part) => {
      process.stderr.write(`${label}, ${part ?? 'weights only'}\n`);
      const found = Float32Array.from(forward(model, part));
      const whole = show(minCosine(found, expected, config.embedDim));
      if (!quiet) return whole;
      const rest = minCosine(withoutMassive(found), withoutMassive(expected), config.embedDim);
      return `${whole}; without the massive channels ${show(rest)}`;
    });
    console.log(`| ${[label, ...cells].join(' | ')} |`);
  }
process.exit(0);
