// Reads the captures of capture.mjs: which dispatches are a block, what each program computes, and its size.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The bytes of all storage buffers that a dispatch binds. */
export const bytesOf = ({ bindings }) =>
  bindings.reduce((sum, { bytes, uniform }) => sum + (uniform ? 0 : bytes), 0);

/**
 * Returns the dispatches of a block, for a graph of two blocks: the sequence of programs that occurs twice. Returns
 * undefined if there is none.
 */
export function blockOf(dispatches) {
  for (let length = dispatches.length >> 1; length > 4; length--) {
    // The first two dispatches of a block differ: its residual sum may be part of the LayerNorm before it.
    for (let at = dispatches.length - 2 * length; at >= 0; at--) {
      const same = (i) => dispatches[at + i].hash === dispatches[at + length + i].hash;
      if ([...Array(length - 2).keys()].every((i) => same(i + 2)))
        return dispatches.slice(at + length, at + 2 * length);
    }
  }
  return undefined;
}

/**
 * Describes a program by its text: `kind` is the operator that it computes (`other` if it contains no matrix
 * product), `type` the type of its values, `lanes` the size of its workgroups.
 */
export function programOf(folder, hash) {
  const text = readFileSync(join(folder, `${hash}.wgsl`), 'utf8');
  const literal = text.match(/@workgroup_size\((\d+), ?(\d+)?,? ?(\d+)?\)/);
  const named = (axis) =>
    Number(text.match(new RegExp(`const workgroup_size_${axis}: u32 = (\\d+)`))?.[1] ?? 1);
  const sides = literal ? literal.slice(1).map((side) => Number(side ?? 1)) : ['x', 'y', 'z'].map(named);
  const subgroups = (text.match(/mm_readA/g) ?? []).length > 20;
  const batches = text.includes('splits_per_batch') || /struct Uniforms \{\s*a_shape: vec[34]/.test(text);
  let kind = 'other';
  if (text.includes('present_key') && text.includes('qk_')) kind = 'MultiHeadAttention';
  else if (text.includes('dilations') || text.includes('im2col')) kind = 'Conv';
  else if (text.includes('mm_readA'))
    kind = `${batches ? 'MatMul of attention' : 'Gemm'}${subgroups ? ', subgroup' : ''}`;
  return { kind, type: text.includes('enable f16;') ? 'f16' : 'f32', lanes: sides.reduce((a, b) => a * b) };
}
