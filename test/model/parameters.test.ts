import { describe, expect, it } from 'vitest';
import { huggingFaceTensors } from '../../src/weights/huggingFace.js';
import { configOf, type ModelSize } from '../../src/model/config.js';
import { parameterCount, parameters } from '../../src/model/parameters.js';

/**
 * Counts from transformers: parameters without and with 4 registers, and tensors in the hub's file without registers.
 */
const published: [ModelSize, number, number, number][] = [
  ['small', 22_056_576, 22_058_112, 223],
  ['base', 86_580_480, 86_583_552, 223],
  ['large', 304_368_640, 304_372_736, 439],
  ['giant', 1_136_480_768, 1_136_486_912, 727],
];

describe('parameters', () => {
  it.each(published)(
    '%s has as many weights and tensors as the published model',
    (size, plain, registers, tensors) => {
      expect(parameterCount(configOf(size))).toBe(plain);
      expect(parameterCount(configOf(size, { registers: true }))).toBe(registers);
      expect(huggingFaceTensors(parameters(configOf(size)))).toHaveLength(tensors);
      expect(huggingFaceTensors(parameters(configOf(size, { registers: true })))).toHaveLength(tensors + 1);
    },
  );

  it("has facebookresearch's names and shapes", () => {
    const small = new Map(
      parameters(configOf('small', { registers: true })).map(({ name, shape }) => [name, shape]),
    );
    expect([...small].slice(0, 20)).toEqual([
      ['cls_token', [1, 1, 384]],
      ['mask_token', [1, 384]],
      ['register_tokens', [1, 4, 384]],
      ['pos_embed', [1, 1370, 384]],
      ['patch_embed.proj.weight', [384, 3, 14, 14]],
      ['patch_embed.proj.bias', [384]],
      ['blocks.0.norm1.weight', [384]],
      ['blocks.0.norm1.bias', [384]],
      ['blocks.0.attn.qkv.weight', [1152, 384]],
      ['blocks.0.attn.qkv.bias', [1152]],
      ['blocks.0.attn.proj.weight', [384, 384]],
      ['blocks.0.attn.proj.bias', [384]],
      ['blocks.0.ls1.gamma', [384]],
      ['blocks.0.norm2.weight', [384]],
      ['blocks.0.norm2.bias', [384]],
      ['blocks.0.mlp.fc1.weight', [1536, 384]],
      ['blocks.0.mlp.fc1.bias', [1536]],
      ['blocks.0.mlp.fc2.weight', [384, 1536]],
      ['blocks.0.mlp.fc2.bias', [384]],
      ['blocks.0.ls2.gamma', [384]],
    ]);
    expect([...small.keys()].slice(-2)).toEqual(['norm.weight', 'norm.bias']);

    const giant = new Map(parameters(configOf('giant')).map(({ name, shape }) => [name, shape]));
    expect(giant.get('blocks.39.mlp.w12.weight')).toEqual([8192, 1536]);
    expect(giant.get('blocks.39.mlp.w12.bias')).toEqual([8192]);
    expect(giant.get('blocks.39.mlp.w3.weight')).toEqual([1536, 4096]);
    expect(giant.get('blocks.39.mlp.w3.bias')).toEqual([1536]);
    expect(giant.has('register_tokens')).toBe(false);
  });

  it('names every parameter once', () => {
    const names = parameters(configOf('giant', { registers: true })).map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});
