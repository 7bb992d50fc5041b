import { describe, expect, test } from 'vitest';
import { detectRaces } from 'wgsl_reflect/wgsl_reflect.module.js';
import type { Kernel, KernelVariant } from '../../src/gpu/kernels/kernel.ts';
import { weightHelpers } from '../../src/gpu/kernels/kernels.ts';
import { full } from '../full.ts';
import { forReflection, kernels, labelOf } from './catalogue.ts';

/*
 * wgsl_reflect plays a workgroup's lanes in turn and reports two that touch the same word of workgroup
 * memory, one of them writing, with no barrier between. It is an interpreter, so sizes are small. What it
 * computes is not looked at: it mixes the lanes' results of function calls. The places that our kernels touch
 * depend on ids and sizes alone.
 */

interface Case {
  readonly constants: KernelVariant['constants'];
  /** Of a forward's kernels batch, rows, cols, num_tokens, and the first workgroup (x, y, z) where it is not 0. */
  readonly size: readonly number[];
  /** Elements of every buffer: more than any kernel reads. */
  readonly elements: number;
}

/** Nine rows or more of a range, of which a tile is made, and three, of which none is. */
const linearSizes = [
  [1, 1, 1, 73, 0, 1, 0],
  [1, 1, 1, 3],
] as const;

/**
 * Two steps of every loop that has a barrier in it: the second meets what the first has left. The first case,
 * of the fewest lanes, is also played without each barrier.
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
  linear_narrow: linearSizes.map((size) => ({
    constants: { IN_FEATURES: 36, OUT_FEATURES: 8, IN_PADDED: 64 },
    size,
    elements: 64 * 64,
  })),
  linear_small: linearSizes.map((size) => ({
    constants: { IN_FEATURES: 36, OUT_FEATURES: 8, IN_PADDED: 64 },
    size,
    elements: 64 * 64,
  })),
  search_floor: [{ constants: { IGNORED_BITS: 30 }, size: [9, 3, 1, 9, 3, 0], elements: 9 }],
  pca_orthonormalize: [{ constants: { EMBED_DIM: 8 }, size: [], elements: 64 }],
};

/** By file: a file's entry points share its barriers. */
const withWorkgroupMemory = new Map<string, Kernel[]>();
for (const kernel of kernels) {
  if ([kernel.text, ...kernel.shared].some((part) => part.includes('var<workgroup>'))) {
    withWorkgroupMemory.set(kernel.name, [...(withWorkgroupMemory.get(kernel.name) ?? []), kernel]);
  }
}

/**
 * The module for the interpreter, which steps over a barrier that opens a block: there, a statement goes
 * before it.
 */
function moduleOf(kernel: Kernel, { constants }: Case): string {
  return forReflection({ kernel, constants, weights: 'f32', operands: 'f32' }, weightHelpers).replaceAll(
    /\{(\s*)workgroupBarrier\(\)/g,
    '{$1var opened = 0u; workgroupBarrier()',
  );
}

function racesIn(
  code: string,
  { entryPoint, bindings }: Kernel,
  { size, elements }: Case,
): { races: readonly { message: string }[]; errors: readonly string[] } {
  const buffers = bindings.map(({ access }, binding) => [
    binding,
    access === 'uniform'
      ? { uniform: Uint32Array.from({ length: 12 }, (_, i) => size[i] ?? 0) }
      : new Float32Array(elements).fill(0.5),
  ]);
  return detectRaces(code, entryPoint, [1, 1, 1], { 0: Object.fromEntries(buffers) });
}

test('every kernel that has workgroup memory is played', () => {
  expect([...withWorkgroupMemory.keys()].sort()).toEqual(Object.keys(cases).sort());
});

describe.each([...withWorkgroupMemory])('%s.wgsl', (name, entries) => {
  const sizes = (cases[name] ?? []).slice(0, full ? undefined : 1);
  test.each(
    entries.flatMap((kernel) =>
      sizes.map((each) => [labelOf(kernel), each.size.join(', '), kernel, each] as const),
    ),
  )('%s: no race at (%s)', (_, _size, kernel, each) => {
    const { races, errors } = racesIn(moduleOf(kernel, each), kernel, each);
    expect(errors).toEqual([]);
    expect(races.map(({ message }) => message)).toEqual([]);
  });

  // The detector is awake, and no barrier is there for nothing.
  test('a race without any one of its barriers', () => {
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
