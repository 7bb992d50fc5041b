/** Recognises the config.json of the published models. */
import { configOf, MODEL_SIZES, type DINOv2Config } from './config.js';

/**
 * If every field that `parseConfig` reads has the value of a published model, returns the same configuration
 * as `parseConfig`.
 * @returns undefined for any other config.json
 */
export function publishedConfig(json: unknown): DINOv2Config | undefined {
  if (typeof json !== 'object' || json === null || 'backbone' in json) return undefined;
  const fields = json as Readonly<Record<string, unknown>>;
  const registers = fields['model_type'] === 'dinov2_with_registers';
  return MODEL_SIZES.map((size) => configOf(size, { registers })).find(({ embedDim, depth, numHeads, ffn }) =>
    Object.entries({
      model_type: registers ? 'dinov2_with_registers' : 'dinov2',
      hidden_size: embedDim,
      num_hidden_layers: depth,
      num_attention_heads: numHeads,
      patch_size: 14,
      image_size: 518,
      mlp_ratio: 4,
      layer_norm_eps: 1e-6,
      use_swiglu_ffn: ffn === 'swiglu',
      num_channels: 3,
      qkv_bias: true,
      hidden_act: 'gelu',
      ...(registers ? { num_register_tokens: 4 } : {}),
    }).every(([name, value]) => Object.hasOwn(fields, name) && fields[name] === value),
  );
}
