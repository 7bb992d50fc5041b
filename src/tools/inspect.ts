/** Describes a checkpoint as text. */
import type { SafetensorsHeader } from '../safetensors.js';
import { ConfigError, DINOv2Error } from '../errors.js';
import type { Described } from '../load/described.js';
import { settleAny } from '../load/anyCheckpoint.js';
import type { DINOv2Config } from '../model/config.js';
import { configJson } from '../model/configJson.js';

/**
 * Returns the configuration as the text of Hugging Face's config.json, or the reason why config.json cannot
 * express it.
 */
function configText(config: DINOv2Config): string {
  try {
    return JSON.stringify(configJson(config));
  } catch (error) {
    if (error instanceof ConfigError) return `none: ${error.message}`;
    throw error;
  }
}

/**
 * Returns lines of text on the header, the naming convention (Hugging Face, facebookresearch or timm), the
 * configuration and the tensors. Never throws for a valid header: if a checkpoint cannot be loaded, the text
 * says why.
 * @param described the checkpoint's config.json, parsed
 */
export function describeCheckpoint(
  header: SafetensorsHeader,
  described: Pick<Described, 'config' | 'hints'> = {},
  prefix?: string,
): string {
  const byDtype = new Map<string, { tensors: number; elements: number }>();
  for (const { dtype, shape } of header.tensors.values()) {
    const entry = byDtype.get(dtype) ?? { tensors: 0, elements: 0 };
    entry.tensors += 1;
    entry.elements += shape.reduce((product, extent) => product * extent, 1);
    byDtype.set(dtype, entry);
  }
  // The header of a checkpoint of several files has no `dataBegin`, from which the size could be computed.
  const tensorBytes = [...header.tensors.values()].reduce((sum, { begin, end }) => sum + end - begin, 0);
  const lines = [
    `file        ${header.fileBytes} bytes, of which header ${header.fileBytes - tensorBytes}; ${header.tensors.size} tensors`,
  ];
  for (const [dtype, { tensors, elements }] of byDtype)
    lines.push(`            ${dtype}: ${elements} elements in ${tensors} tensors`);
  for (const [key, value] of header.metadata)
    lines.push(`metadata    ${JSON.stringify(key)}: ${JSON.stringify(value.slice(0, 200))}`);
  try {
    const { config, tensors } = settleAny(header, described, { prefix });
    const { dialect, setAside, assumed } = tensors;
    lines.push(`dialect     ${dialect}${tensors.prefix && `, prefix ${JSON.stringify(tensors.prefix)}`}`);
    lines.push(
      `model       embed_dim ${config.embedDim}, ${config.depth} blocks, ${config.numHeads} heads, ${config.ffn}, ${config.numRegisterTokens} register tokens, patches of ${config.patchSize}, native ${config.imageSize} × ${config.imageSize}`,
    );
    lines.push(`config.json ${configText(config)}`);
    for (const sentence of assumed) lines.push(`assumed     ${sentence}`);
    for (const name of setAside) lines.push(`set aside   ${JSON.stringify(name)}`);
  } catch (error) {
    if (!(error instanceof DINOv2Error)) throw error;
    lines.push(`model       does not load: ${error.message}`);
  }
  lines.push('tensors');
  for (const [name, { dtype, shape }] of header.tensors)
    lines.push(`            ${JSON.stringify(name)} ${dtype} [${shape.join(', ')}]`);
  return lines.join('\n');
}
