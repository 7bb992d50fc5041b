/** Reads the text of `model.describe()`: which kernels a forward pass runs, and how often. */

/** A kernel of the forward pass. */
export interface KernelOfPlan {
  /** Shader and entry point, such as `linear.linear_gelu`; only the shader if both have the same name. */
  readonly kernel: string;
  /** Number of dispatches in a forward pass. */
  readonly dispatches: number;
}

/** Returns the kernels in the order in which they run first. */
export function kernelsOf(plan: string): KernelOfPlan[] {
  const counts = new Map<string, number>();
  for (const line of plan.split('\n')) {
    const [kernel] = /^[a-z]\w*(\.\w+)?(?=\s+\d+×)/.exec(line) ?? [];
    if (kernel !== undefined) counts.set(kernel, (counts.get(kernel) ?? 0) + 1);
  }
  return [...counts].map(([kernel, dispatches]) => ({ kernel, dispatches }));
}

/** What the kernels of a forward pass compute, by entry point. */
const ABOUT: Readonly<Record<string, string>> = {
  patch_embed: 'pixels of a patch → its first token',
  assemble_tokens: 'class token, registers and positions',
  mask_patches: 'replaces masked patches',
  layer_norm: 'normalizes each token',
  layer_norm_direct: 'normalizes each token',
  linear: 'queries, keys and values',
  attention: 'each token collects from all tokens',
  attention_lanes: 'each token collects from all tokens',
  linear_scale_residual: 'linear layer, scaled and added to the token',
  linear_gelu: 'first layer of the MLP, with GELU',
  linear_swiglu: 'first layer of the MLP, with SwiGLU',
};

/** Describes a kernel in a few words. */
export const aboutKernel = (kernel: string): string => ABOUT[kernel.split('.').at(-1)!] ?? '';

/** Returns the last line of the plan as a sentence. */
export function summaryOf(plan: string): string {
  const last = plan.slice(plan.lastIndexOf('\n') + 1);
  const [, dispatches, apart, together, buffers] =
    /^(\d+) dispatches; activations (.+) → (.+) in (\d+) buffers$/.exec(last) ?? [];
  return dispatches === undefined
    ? last
    : `${dispatches} dispatches. Intermediate results share ${buffers} buffers of ${together} together, instead of ${apart}.`;
}
