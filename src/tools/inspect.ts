/** What a safetensors file is, in lines for people. */
import { inspectCheckpoint } from '../checkpoint/names.js';
import { readQuantized } from '../checkpoint/quantized.js';
import type { SafetensorsHeader } from '../checkpoint/safetensors.js';
import { CheckpointError } from '../errors.js';
import { configJson, inferConfig } from '../model/config.js';

/** As if nothing were int8, or why that cannot be. */
function plainHeader(header: SafetensorsHeader): SafetensorsHeader | string {
  try {
    return readQuantized(header).header;
  } catch (error) {
    if (error instanceof CheckpointError) return error.message;
    throw error;
  }
}

/**
 * Header, dialect, configuration, parameters. Never throws for a valid header: what is no DINOv2 is said to
 * be none.
 */
export function describeCheckpoint(header: SafetensorsHeader): string {
  const byDtype = new Map<string, { tensors: number; elements: number }>();
  for (const { dtype, shape } of header.tensors.values()) {
    const entry = byDtype.get(dtype) ?? { tensors: 0, elements: 0 };
    entry.tensors += 1;
    entry.elements += shape.reduce((product, extent) => product * extent, 1);
    byDtype.set(dtype, entry);
  }
  const tensorBytes = [...header.tensors.values()].reduce((sum, { begin, end }) => sum + end - begin, 0); // of several files, dataBegin says nothing
  const lines = [
    `file        ${header.fileBytes} bytes, of which header ${header.fileBytes - tensorBytes}; ${header.tensors.size} tensors`,
  ];
  for (const [dtype, { tensors, elements }] of byDtype)
    lines.push(`            ${dtype}: ${elements} elements in ${tensors} tensors`);
  for (const [key, value] of header.metadata)
    lines.push(`metadata    ${JSON.stringify(key)}: ${JSON.stringify(value.slice(0, 200))}`);
  const plain = plainHeader(header);
  if (typeof plain === 'string') return [...lines, `model       none that loads: ${plain}`].join('\n');
  const config = inferConfig(plain);
  if (!config) return [...lines, 'model       no DINOv2: its tensors have other names or shapes'].join('\n');
  const { dialect, numRegisterTokens } = inspectCheckpoint(plain)!;
  lines.push(`dialect     ${dialect}`);
  lines.push(
    `model       embed_dim ${config.embedDim}, ${config.depth} blocks, ${config.numHeads} heads, ${config.ffn}, ${numRegisterTokens} register tokens, patches of ${config.patchSize}, native ${config.imageSize} × ${config.imageSize}`,
  );
  lines.push(`config.json ${JSON.stringify(configJson(config))}`);
  lines.push('tensors');
  for (const [name, { dtype, shape }] of header.tensors)
    lines.push(`            ${JSON.stringify(name)} ${dtype} [${shape.join(', ')}]`);
  return lines.join('\n');
}
