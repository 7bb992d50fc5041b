/** Float64 reference of a complete forward (src/model/vit.ts), which runs the references of its kernels. */
import type { DINOv2Config } from '../../src/model/config.ts';
import { interpolatePosEmbed } from '../../src/model/posEmbed.ts';
import { assembleTokens } from './assemble_tokens.ts';
import { attention } from './attention.ts';
import { layerNorm } from './layer_norm.ts';
import { linear, linearGelu, linearScaleResidual, linearSwiglu } from './linear.ts';
import { patchEmbed } from './patch_embed.ts';

/** Casts to the parameter type of the kernel references, which also compute with float64 arrays. */
const wide = (values: Float64Array): Float32Array => values as unknown as Float32Array;

/**
 * The last hidden state of one image, (numTokens, embedDim).
 * @param weight returns the values of a parameter by its name in src/model/parameters.ts
 */
export function forward(
  config: DINOv2Config,
  weight: (name: string) => Float32Array,
  pixels: Float32Array,
  rows: number,
  cols: number,
): Float64Array {
  const { embedDim, depth, numHeads, patchSize, imageSize, numRegisterTokens, hiddenFeatures } = config;
  const affine = (name: string): [Float32Array, Float32Array] => [
    weight(`${name}.weight`),
    weight(`${name}.bias`),
  ];
  const table = weight('pos_embed');
  const positions = interpolatePosEmbed(table, {
    embedDim,
    nativeGrid: Math.floor(imageSize / patchSize),
    rows,
    cols,
    convention: config.posEmbed,
  });
  const size = { batch: 1, rows, cols, embedDim, patchSize };
  const numTokens = 1 + numRegisterTokens + rows * cols;
  let x: Float64Array = Float64Array.from(
    assembleTokens(
      { batch: 1, numPatches: rows * cols, embedDim, numRegisterTokens },
      wide(patchEmbed(size, pixels, ...affine('patch_embed.proj'))),
      weight('cls_token'),
      Float32Array.from([...table.subarray(0, embedDim), ...positions]),
      numRegisterTokens > 0 ? weight('register_tokens') : undefined,
    ),
  );
  const sized = (inFeatures: number, outFeatures: number) => ({ rows: numTokens, inFeatures, outFeatures });
  const norm = (name: string): Float32Array =>
    wide(layerNorm(numTokens, embedDim, config.layerNormEps, wide(x), ...affine(name)));
  for (let i = 0; i < depth; i++) {
    const block = `blocks.${i}`;
    const add = (name: string, gamma: string, from: Float64Array, inFeatures: number): Float64Array =>
      linearScaleResidual(
        sized(inFeatures, embedDim),
        wide(from),
        ...affine(`${block}.${name}`),
        weight(`${block}.${gamma}.gamma`),
        wide(x),
      );
    const qkv = linear(sized(embedDim, 3 * embedDim), norm(`${block}.norm1`), ...affine(`${block}.attn.qkv`));
    x = add('attn.proj', 'ls1', attention(1, numTokens, numHeads, wide(qkv)), embedDim);
    const normed = norm(`${block}.norm2`);
    x =
      config.ffn === 'mlp'
        ? add(
            'mlp.fc2',
            'ls2',
            linearGelu(sized(embedDim, hiddenFeatures), normed, ...affine(`${block}.mlp.fc1`)),
            hiddenFeatures,
          )
        : add(
            'mlp.w3',
            'ls2',
            linearSwiglu(sized(embedDim, 2 * hiddenFeatures), normed, ...affine(`${block}.mlp.w12`)),
            hiddenFeatures,
          );
  }
  return layerNorm(numTokens, embedDim, config.layerNormEps, wide(x), ...affine('norm'));
}
