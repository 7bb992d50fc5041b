// The tiny models of the reference fixtures, with the tensor names and shapes of facebookresearch and timm.
import { readFile } from 'node:fs/promises';
import { encodeSafetensors, parseSafetensors, type SafetensorsDtype } from '../../src/safetensors.ts';
import { referenceFolder } from '../parity.ts';

export interface Named {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}

export const readAll = async (kind: string): Promise<Map<string, Named>> => {
  const bytes = new Uint8Array(await readFile(new URL(`tiny-${kind}/model.safetensors`, referenceFolder)));
  const { tensors } = parseSafetensors(bytes);
  return new Map(
    [...tensors].map(([name, { shape, begin, end }]) => [
      name,
      { shape, values: new Float32Array(bytes.slice(begin, end).buffer) },
    ]),
  );
};

export const write = (
  tensors: ReadonlyMap<string, Named>,
  dtype: SafetensorsDtype = 'F32',
  convert: (values: Float32Array<ArrayBuffer>) => ArrayBufferView = (values) => values,
): Uint8Array<ArrayBuffer> =>
  encodeSafetensors(
    [...tensors].map(([name, { shape, values }]) => [name, { dtype, shape, data: convert(values) }] as const),
  );

/**
 * Converts Hugging Face's names to facebookresearch's, with query, key and value as one matrix. Independent of
 * names.ts, which it tests.
 */
export function facebookresearch(tensors: ReadonlyMap<string, Named>): Map<string, Named> {
  const out = new Map<string, Named>();
  for (const [name, tensor] of tensors) {
    if (/attention\.attention\.(key|value)/.test(name)) continue;
    if (name.includes('attention.attention.query')) {
      const parts = ['query', 'key', 'value'].map((part) => tensors.get(name.replace('query', part))!);
      const values = Float32Array.from(parts.flatMap((part) => [...part.values]));
      const renamed = name.replace(
        /^encoder\.layer\.(\d+)\.attention\.attention\.query/,
        'blocks.$1.attn.qkv',
      );
      out.set(renamed, { shape: [3 * tensor.shape[0]!, ...tensor.shape.slice(1)], values });
      continue;
    }
    const renamed = name
      .replace(/^embeddings\.position_embeddings$/, 'pos_embed')
      .replace(/^embeddings\.patch_embeddings\.projection/, 'patch_embed.proj')
      .replace(/^embeddings\./, '')
      .replace(/^encoder\.layer\./, 'blocks.')
      .replace('.attention.output.dense', '.attn.proj')
      .replace(/\.layer_scale(\d)\.lambda1/, '.ls$1.gamma')
      .replace('.mlp.weights_in', '.mlp.w12')
      .replace('.mlp.weights_out', '.mlp.w3')
      .replace(/^layernorm/, 'norm');
    out.set(renamed, tensor);
  }
  return out;
}

/** Converts facebookresearch's names to timm's, as timm's `_convert_dinov2` does. */
export function timm(tensors: ReadonlyMap<string, Named>): Map<string, Named> {
  const out = new Map<string, Named>();
  const registers = tensors.has('register_tokens');
  const { values: table, shape } = tensors.get('pos_embed')!;
  const width = shape[2]!;
  for (const [name, { shape, values }] of tensors) {
    if (name === 'mask_token') continue;
    if (name === 'cls_token' && registers)
      out.set(name, { shape, values: values.map((value, i) => value + table[i]!) });
    else if (name === 'pos_embed' && registers)
      out.set(name, { shape: [1, shape[1]! - 1, width], values: table.slice(width) });
    else
      out.set(
        name.replace('register_tokens', 'reg_token').replace('.w12.', '.fc1.').replace('.w3.', '.fc2.'),
        { shape, values },
      );
  }
  return out;
}
