/** Declares kernels, and assembles the text of a WGSL module from a kernel, its helpers and its constants. */

/** How a kernel uses a binding. */
export type Access = 'uniform' | 'read' | 'write' | 'external';

/** A binding of a kernel: a buffer that the shader reads or writes, or with `external` a video frame. */
export interface Binding {
  /** Name of the binding's variable in the shader. */
  readonly name: string;
  /** How the kernel uses the binding. */
  readonly access: Access;
}

/** An entry point of a shader with its bindings. */
export interface Kernel {
  /** Name of the file in shaders/, without .wgsl. */
  readonly name: string;
  /** Text of the file in shaders/. */
  readonly text: string;
  /** Name of the shader's entry point. */
  readonly entryPoint: string;
  /** Bindings of group 0 in the order of their numbers. */
  readonly bindings: readonly Binding[];
  /** Texts of the helper files in shaders/shared that the kernel calls. */
  readonly shared: readonly string[];
  /**
   * True if the kernel calls subgroup functions. Such a kernel needs a device with the feature `subgroups`.
   */
  readonly subgroups: boolean;
}

/** A shader that draws: `entryPoint` is the fragment shader, and the bindings are those of the fragment shader. */
export interface RenderKernel extends Kernel {
  /** Name of the vertex shader's entry point. It draws three vertices without a vertex buffer. */
  readonly vertexEntryPoint: string;
}

/** Name of a kernel in messages and tables, such as `layer_norm` or `linear_narrow.linear_gelu`. */
export const kernelName = ({ name, entryPoint }: Pick<Kernel, 'name' | 'entryPoint'>): string =>
  name === entryPoint ? name : `${name}.${entryPoint}`;

/** A kernel with the constants and element types that it is compiled with. */
export interface KernelVariant {
  /** The kernel from which the variant is made. */
  readonly kernel: Kernel;
  /** Values of the shader's constants by name: model dimensions and tile sizes. A number is a u32. */
  readonly constants: Readonly<Record<string, number | string>>;
  /**
   * How the weights are stored. Selects the helper that defines `Weights4`. Undefined if the kernel reads no
   * weights.
   */
  readonly weights?: WeightStorage;
  /**
   * Element type of weights in workgroup memory. Defines `Operand4`. Undefined if the kernel puts no weights
   * in workgroup memory.
   */
  readonly operands?: OperandType | undefined;
}

/** Returns a string that is different for each kernel variant. */
export const variantKey = ({ kernel, ...rest }: KernelVariant): string =>
  JSON.stringify([kernelName(kernel), rest.constants, rest.weights, rest.operands]);

/**
 * Element type of weights in workgroup memory. `f16` takes half the memory; each number is converted to f32
 * when it is used. `f16` needs the feature `shader-f16`, and is used only for weights that are stored as f16,
 * so nothing is rounded.
 */
export type OperandType = 'f32' | 'f16';

/**
 * How weights are stored on the GPU:
 * - `f32`;
 * - `f16`, which needs the feature `shader-f16`;
 * - `f16-packed`: two f16 numbers in a u32, unpacked with `unpack2x16float`, which every adapter supports;
 * - `int8`: four integers in a u32, with an f32 scale for every output column.
 */
export type WeightStorage = 'f32' | 'f16' | 'f16-packed' | 'int8';

/**
 * Declares a kernel.
 *
 * @param bindings access and name of each binding, such as `uniform size`, `read x`, `write out`
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
 * Concatenates the text of a WGSL module: the `enable` line (or an empty line), the kernel, its helpers, the
 * constants. WGSL allows module-scope declarations in any order, so the kernel can come first. The line
 * number in a compiler's message, minus one, is then the line number in the kernel's file.
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
