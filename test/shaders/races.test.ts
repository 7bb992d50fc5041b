import { describe, expect, test } from 'vitest';
import { detectRaces } from 'wgsl_reflect/wgsl_reflect.module.js';
import type { Kernel, KernelVariant } from '../../src/gpu/kernels/kernel.ts';
import { weightHelpers } from '../../src/gpu/kernels/kernels.ts';
import { full } from '../full.ts';
import { forReflection, kernels, labelOf } from './catalogue.ts';

/*
 * wgsl_reflect interprets a workgroup's lanes one after the other, and reports two lanes that access the same word of
 * workgroup memory without a barrier between, if one of them writes. Sizes are small because it is an interpreter.
 * The computed values are ignored, because it mixes up the results of function calls of different lanes. The
 * addresses that our kernels access depend only on ids and sizes.
 */

interface Case {
  readonly constants: KernelVariant['constants'];
  /** Words of the uniform. For kernels of a forward: batch, rows, cols, num_tokens, then the first workgroup (x, y, z). */
  readonly size: readonly number[];
  /** Elements of every buffer, at least as many as the kernel reads. */
  readonly elements: number;
  /** Names of buffers that hold indices. They are filled with zeros; other buffers with 0.5. */
  readonly indices?: readonly string[];
}

/** A remainder of nine rows, which is computed as a tile, and of three rows, which is not. */
const linearSizes = [
  [1, 1, 1, 73, 0, 1, 0],
  [1, 1, 1, 3],
] as const;

/**
 * Sizes at which every loop with a barrier takes two steps, so that the second step can conflict with the first. The
 * first case of a kernel, with the fewest lanes, also runs with each barrier removed.
 */
const cases: Readonly<Record<string, readonly Case[]>> = {
  layer_norm: [{ constants: { EMBED_DIM: 260, EPS: 'f32(1e-6)' }, size: [1, 1, 1, 1], elements: 260 }],
  attention: [
    { constants: { EMBED_DIM: 64, QUERY_GROUPS: 4 }, size: [1, 1, 16, 17], elements: 33 * 192 },
    { constants: { EMBED_DIM: 64, QUERY_GROUPS: 8 }, size: [1, 1, 2, 3], elements: 3 * 192 },
    { constants: { EMBED_DIM: 64, QUERY_GROUPS: 8 }, size: [1, 1, 32, 33], elements: 33 * 192 },
    { constants: { EMBED_DIM: 64, QUERY_GROUPS: 8 }, size: [2, 1, 32, 33, 1, 0, 1], elements: 66 * 192 },
  ],
  attention_rows: [{ constants: { EMBED_DIM: 64 }, size: [66, 1, 1, 0, 0, 0], elements: 66 * 192 }],
  linear: [8, 16].flatMap((LANES_X) =>
    linearSizes.map((size) => ({
      constants: { IN_FEATURES: 20, OUT_FEATURES: 8, IN_PADDED: 32, LANES_X },
      size,
      elements: 64 * 64,
    })),
  ),
  linear_f16: [8, 16].flatMap((LANES_X) =>
    linearSizes.map((size) => ({
      constants: { IN_FEATURES: 20, OUT_FEATURES: 8, IN_PADDED: 32, LANES_X },
      size,
      elements: 64 * 64,
    })),
  ),
  linear_narrow_f16: linearSizes.map((size) => ({
    constants: { IN_FEATURES: 36, OUT_FEATURES: 8, IN_PADDED: 64 },
    size,
    elements: 64 * 64,
  })),
  linear_narrow: linearSizes.map((size) => ({
    constants: { IN_FEATURES: 36, OUT_FEATURES: 8, IN_PADDED: 64 },
    size,
    elements: 64 * 64,
  })),
  linear_tall: linearSizes.map((size) => ({
    constants: { IN_FEATURES: 36, OUT_FEATURES: 8, IN_PADDED: 64 },
    size,
    elements: 128 * 64,
  })),
  linear_small: linearSizes.map((size) => ({
    constants: { IN_FEATURES: 36, OUT_FEATURES: 8, IN_PADDED: 64 },
    size,
    elements: 64 * 64,
  })),
  search_floor: [{ constants: { IGNORED_BITS: 30 }, size: [9, 3, 1, 9, 3, 0], elements: 9 }],
  patch_similarity: [
    { constants: { EMBED_DIM: 260 }, size: [0, 17], elements: 64 * 260, indices: ['chosen'] },
  ],
  map_colors: [{ constants: {}, size: [65, 3], elements: 65 }],
  pca_orthonormalize: [{ constants: { EMBED_DIM: 8 }, size: [], elements: 64 }],
};

/** The kernels with workgroup memory by file, because the entry points of a file share its barriers. */
const withWorkgroupMemory = new Map<string, Kernel[]>();
for (const kernel of kernels) {
  if ([kernel.text, ...kernel.shared].some((part) => part.includes('var<workgroup>'))) {
    withWorkgroupMemory.set(kernel.name, [...(withWorkgroupMemory.get(kernel.name) ?? []), kernel]);
  }
}

/**
 * The module for the interpreter, which ignores a barrier at the start of a block. A statement is inserted before
 * such a barrier. f16 becomes f32, because the interpreter cannot read f16; addresses do not depend on it.
 */
function moduleOf(kernel: Kernel, { constants }: Case): string {
  return forReflection({ kernel, constants, weights: 'f32', operands: 'f32' }, weightHelpers)
    .replaceAll(/\{(\s*)workgroupBarrier\(\)/g, '{$1var opened = 0u; workgroupBarrier()')
    .replaceAll('vec4<f16>', 'vec4<f32>');
}

function racesIn(
  code: string,
  { entryPoint, bindings }: Kernel,
  { size, elements, indices = [] }: Case,
): { races: readonly { message: string }[]; errors: readonly string[] } {
  const buffers = bindings.map(({ access, name }, binding) => [
    binding,
    access === 'uniform'
      ? { uniform: Uint32Array.from({ length: 12 }, (_, i) => size[i] ?? 0) }
      : new Float32Array(elements).fill(indices.includes(name) ? 0 : 0.5),
  ]);
  return detectRaces(code, entryPoint, [1, 1, 1], { 0: Object.fromEntries(buffers) });
}

test('every kernel with workgroup memory has a case', () => {
  expect([...withWorkgroupMemory.keys()].sort()).toEqual(Object.keys(cases).sort());
});

describe.each([...withWorkgroupMemory])('%s.wgsl', (name, entries) => {
  const sizes = (cases[name] ?? []).slice(0, full ? undefined : 1);
  // These kernels share the entry points with other kernels, so one form is enough outside of the full tier.
  const forms = full || !/_(f16|tall)$/.test(name) ? entries : entries.slice(0, 1);
  test.each(
    forms.flatMap((kernel) =>
      sizes.map((each) => [labelOf(kernel), each.size.join(', '), kernel, each] as const),
    ),
  )('%s: no race at (%s)', (_, _size, kernel, each) => {
    const { races, errors } = racesIn(moduleOf(kernel, each), kernel, each);
    expect(errors).toEqual([]);
    expect(races.map(({ message }) => message)).toEqual([]);
  });

  // Shows that the detector works, and that every barrier is needed.
  test('has a race if any one of its barriers is removed', () => {
    const [each] = sizes;
    const code = moduleOf(entries[0]!, each!);
    const barriers = [...code.matchAll(/workgroupBarrier\(\);/g)];
    expect(barriers.length).toBeGreaterThan(0);
    for (const { index, 0: barrier } of full ? barriers : barriers.slice(-1)) {
      const line = code.slice(0, index).split('\n').length;
      const without = code.slice(0, index) + code.slice(index + barrier.length);
      const found = entries.some((kernel) => racesIn(without, kernel, each!).races.length > 0);
      expect(found, `without the barrier of line ${line}: ${code.split('\n')[line - 1]}`).toBe(true);
    }
  });
});
