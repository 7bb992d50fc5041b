/** Lists a DINOv2 model's parameters by facebookresearch's names, in the order of the forward pass. */

import type { Parameter } from '../weights/huggingFace.js';
import { nativeGrid, type DINOv2Config } from './config.js';

/**
 * Returns all parameters of a model with their PyTorch shapes: a linear layer's weight is (out, in). The rows
 * of `attn.qkv` are the rows of query, key and value. The rows of `mlp.w12` are the half that SiLU is applied
 * to, then the half that is multiplied with the result.
 */
export function parameters(config: DINOv2Config): Parameter[] {
  const { embedDim, depth, patchSize, numChannels, numRegisterTokens, ffn, hiddenFeatures } = config;
  const grid = nativeGrid(config);
  const list: Parameter[] = [];
  const add = (name: string, ...shape: number[]) => list.push({ name, shape });
  const affine = (name: string, ...weight: [number, ...number[]]) => {
    add(`${name}.weight`, ...weight);
    add(`${name}.bias`, weight[0]);
  };

  add('cls_token', 1, 1, embedDim);
  add('mask_token', 1, embedDim);
  if (numRegisterTokens > 0) add('register_tokens', 1, numRegisterTokens, embedDim);
  add('pos_embed', 1, 1 + grid * grid, embedDim);
  affine('patch_embed.proj', embedDim, numChannels, patchSize, patchSize);
  for (let i = 0; i < depth; i++) {
    const block = `blocks.${i}`;
    affine(`${block}.norm1`, embedDim);
    affine(`${block}.attn.qkv`, 3 * embedDim, embedDim);
    affine(`${block}.attn.proj`, embedDim, embedDim);
    add(`${block}.ls1.gamma`, embedDim);
    affine(`${block}.norm2`, embedDim);
    affine(
      `${block}.mlp.${ffn === 'mlp' ? 'fc1' : 'w12'}`,
      ffn === 'mlp' ? hiddenFeatures : 2 * hiddenFeatures,
      embedDim,
    );
    affine(`${block}.mlp.${ffn === 'mlp' ? 'fc2' : 'w3'}`, embedDim, hiddenFeatures);
    add(`${block}.ls2.gamma`, embedDim);
  }
  affine('norm', embedDim);
  return list;
}

/** Returns the total number of elements in all parameters: 22,056,576 for ViT-S. */
export function parameterCount(config: DINOv2Config): number {
  return parameters(config).reduce(
    (sum, { shape }) => sum + shape.reduce((product, length) => product * length, 1),
    0,
  );
}
