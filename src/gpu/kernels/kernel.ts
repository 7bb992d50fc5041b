/**
 * What a kernel is to the host: its shader, its entry point, its bindings; and how text and constants become
 * one module.
 */

/** How a kernel uses a binding. The number of a binding is its place in `Kernel.bindings`. */
export type Access = 'uniform' | 'read' | 'write';

export interface Binding {
  /** Name of the variable in the shader. */
  readonly name: string;
  readonly access: Access;
}

/** A shader's entry point with its bindings. */
export interface Kernel {
  /** Name of the file in shaders/, without .wgsl. */
  readonly name: string;
  readonly text: string;
  readonly entryPoint: string;
  readonly bindings: readonly Binding[];
  /** Helper files of shaders/shared that it calls. */
  readonly shared: readonly string[];
  /** It calls subgroup functions: the device needs the feature `subgroups`. */
  readonly subgroups: boolean;
}

/** `layer_norm`, `linear_narrow.linear_gelu`: how a kernel is called in messages and tables. */
export const kernelName = ({ name, entryPoint }: Pick<Kernel, 'name' | 'entryPoint'>): string =>
  name === entryPoint ? name : `${name}.${entryPoint}`;

/** A kernel with everything that is decided before it is compiled. */
export interface KernelVariant {
  readonly kernel: Kernel;
  /**
   * Names that the shader expects from outside: model dimensions and tile sizes, as u32 unless the value is
   * written otherwise.
   */
  readonly constants: Readonly<Record<string, number | string>>;
  /**
   * How weights are stored; decides which helper defines the type `Weights4`. Absent where a kernel reads no
   * weights.
   */
  readonly weights?: WeightStorage;
  /**
   * The element type of `Operand4`, in which a tiled kernel stages weights in workgroup memory. Absent where
   * a kernel stages none.
   */
  readonly operands?: OperandType | undefined;
}

/** What tells variants of the same library apart. */
export const variantKey = ({ kernel, ...rest }: KernelVariant): string =>
  JSON.stringify([kernelName(kernel), rest.constants, rest.weights, rest.operands]);

/**
 * f16 (needs shader-f16, and weights that are f16 already, so that nothing is rounded) takes half the
 * workgroup memory, and is turned to f32 at every use.
 */
export type OperandType = 'f32' | 'f16';

/**
 * Element type of weights on the GPU. `f32`; `f16` (needs shader-f16); `f16-packed`: two f16 in a u32,
 * unpacked with `unpack2x16float`, which every adapter has; `int8`: four whole numbers in a u32, with an f32
 * scale for every output column.
 */
export type WeightStorage = 'f32' | 'f16' | 'f16-packed' | 'int8';

/**
 * Declares a kernel. `bindings` reads like the shader: `uniform size`, `read x`, `write out`.
 * @__NO_SIDE_EFFECTS__
 */
export function defineKernel(
  name: string,
  text: string,
  entryPoint: string,
  bindings: readonly `${Access} ${string}`[],
  shared: readonly string[] = [],
  { subgroups = false }: { subgroups?: boolean } = {},
): Kernel {
  const parsed = bindings.map((binding) => {
    const [access, variable] = binding.split(' ') as [Access, string];
    return { access, name: variable };
  });
  return { name, text, entryPoint, bindings: parsed, shared, subgroups };
}

/**
 * The module's text: the `enable` line (or an empty one), the kernel, its helpers, the constants.
 * Concatenation only; module scope has no order in WGSL, so the kernel comes first and a compiler's line
 * number less one is the line in the kernel's file.
 */
export function assemble(
  { kernel, constants, weights, operands }: KernelVariant,
  weightHelpers: Readonly<Record<WeightStorage, string>>,
): string {
  const enabled = [
    ...(weights === 'f16' || operands === 'f16' ? ['f16'] : []),
    ...(kernel.subgroups ? ['subgroups'] : []),
  ];
  const enable = enabled.length > 0 ? `enable ${enabled.join(', ')};` : '';
  const values = Object.entries(constants).map(
    ([name, value]) => `const ${name} = ${typeof value === 'number' ? `${value}u` : value};`,
  );
  const helper = weights ? [weightHelpers[weights]] : [];
  const operand = operands ? [`alias Operand4 = vec4<${operands}>;`] : [];
  return [enable, kernel.text, ...kernel.shared, ...helper, ...operand, ...values, ''].join('\n');
}
