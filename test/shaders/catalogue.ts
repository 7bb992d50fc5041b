/// <reference types="vite/client" />
// Lists all kernels of src/gpu/kernels/, with the constants of the published models.
import { readdirSync, readFileSync } from 'node:fs';
import type { Kernel, KernelVariant, WeightStorage } from '../../src/gpu/kernels/kernel.ts';
import { f16Kernels } from '../../src/gpu/kernels/f16Kernels.ts';
import { laneKernels } from '../../src/gpu/kernels/laneKernels.ts';
import { EVERY_TILE } from '../../src/gpu/kernels/tunedKernels.ts';
import { alternatives, type Target } from '../../src/gpu/lowering.ts';
import { configOf, type DINOv2Config } from '../../src/model/config.ts';
import { buildForward } from '../../src/model/vit.ts';

const modules = import.meta.glob<Record<string, unknown>>('../../src/gpu/kernels/*ernels.ts', {
  eager: true,
});

const isKernel = (value: object): value is Kernel =>
  'entryPoint' in value && 'text' in value && 'bindings' in value;

/** Finds the kernels in an exported value: a kernel itself, or an array or record of kernels. */
function kernelsIn(value: unknown): Kernel[] {
  if (typeof value !== 'object' || value === null) return [];
  return isKernel(value) ? [value] : Object.values(value).flatMap(kernelsIn);
}

export const kernels: readonly Kernel[] = [...new Set(Object.values(modules).flatMap(kernelsIn))];

/** Name and entry point of a kernel, such as `layer_norm` or `linear.linear_gelu`. */
export const labelOf = ({ name, entryPoint }: Kernel): string =>
  name === entryPoint ? name : `${name}.${entryPoint}`;

export const storages: readonly WeightStorage[] = ['f32', 'f16', 'f16-packed', 'int8'];

/** Every published model, with and without registers. */
export const models: readonly DINOv2Config[] = (['small', 'base', 'large', 'giant'] as const).flatMap(
  (size) => [configOf(size), configOf(size, { registers: true })],
);

/**
 * Constants of the kernels outside the forward, in addition to EMBED_DIM. Shaders ignore constants that they do not
 * use.
 */
const otherConstants: KernelVariant['constants'] = {
  NUM_CHUNKS: 32,
  ROUNDS: 32,
  FUSED: 'true',
  VALUES: 2,
  WORDS: 192,
  TOP_K: 5,
  WORKGROUP: 64,
  SIDE: 8,
  IGNORED_BITS: 8,
  COLUMNS: 1152,
  PARTS: 16,
};

/**
 * Every distinct kernel variant of the published models with every weight storage, and every kernel outside the
 * forward for every model's width.
 */
export function variants(): KernelVariant[] {
  const found = new Map<string, KernelVariant>();
  for (const config of models) {
    const { nodes } = buildForward(config, { batch: 1, rows: 2, cols: 3 }).graph;
    const targets: readonly Omit<Target, 'weights'>[] = [
      { software: false, ...EVERY_TILE },
      { software: false, ...EVERY_TILE, f16: f16Kernels },
      { software: true, laneKernels: laneKernels[4] },
      { software: true, laneKernels: laneKernels[8] },
    ];
    for (const target of targets) {
      for (const weights of target.f16 ? (['f16'] as const) : storages) {
        for (const operands of target.f16 ? (['f16'] as const) : (['f32', 'f16'] as const)) {
          for (const { variant } of nodes.flatMap((node) =>
            alternatives(node, { ...target, weights, operands }),
          )) {
            found.set(
              JSON.stringify([labelOf(variant.kernel), variant.constants, variant.weights, variant.operands]),
              variant,
            );
          }
        }
      }
    }
  }
  const lowered = new Set([...found.values()].map(({ kernel }) => kernel));
  for (const kernel of kernels.filter((each) => !lowered.has(each))) {
    for (const { embedDim } of models) {
      const constants = { ...otherConstants, EMBED_DIM: embedDim };
      found.set(JSON.stringify([labelOf(kernel), constants]), { kernel, constants });
    }
  }
  return [...found.values()];
}

const folder = new URL('../../shaders/', import.meta.url);

/** Text of a shader file in the repository. */
export const shaderText = (path: string): string => readFileSync(new URL(path, folder), 'utf8');

/** Names of the files in shaders/, or in a folder of it such as `shared`. */
export const shaderFiles = (path = ''): string[] =>
  readdirSync(new URL(path, folder)).filter((name) => name.endsWith('.wgsl'));

/**
 * A variant's module in a form that wgsl_reflect 1.6.0 can parse: declarations before their uses, and no variable
 * named `workgroup`, which its parser treats as a keyword although WGSL does not.
 */
export function forReflection(
  { kernel, constants, weights, operands }: KernelVariant,
  weightHelpers: Readonly<Record<WeightStorage, string>>,
): string {
  const values = Object.entries(constants).map(
    ([name, value]) => `const ${name} = ${typeof value === 'number' ? `${value}u` : value};`,
  );
  const operand = operands ? [`alias Operand4 = vec4<${operands}>;`] : [];
  const parts = [
    ...(weights === 'f16' || operands === 'f16' ? ['enable f16;'] : []),
    ...operand,
    ...values,
    ...(weights ? [weightHelpers[weights]] : []),
    ...kernel.shared,
    kernel.text,
  ];
  return parts.join('\n').replaceAll(/\bworkgroup\b(?=\.|: vec3u| =)/g, 'workgroup_at');
}
