// Attention maps leave out the cls token and the registers, and keep the order of heads.
import { expect, test } from 'vitest';
import { attentionMap } from '../../src/tasks/attentionMap.ts';
import { PatchMap } from '../../src/tasks/patchMap.ts';

const [rows, cols, registers, heads] = [2, 3, 4, 5];
const numTokens = 1 + registers + rows * cols;
/** Value of a token in a head: head + token / 100. */
const rowOf = (head: number): number[] => Array.from({ length: numTokens }, (_, i) => head + i / 100);
const asked: unknown[] = [];
const features = {
  rows,
  cols,
  numTokens,
  attention: async (layer: number, options: { readonly head?: number | 'mean' | undefined }) => {
    asked.push([layer, options]);
    const all = options.head === undefined ? Array.from({ length: heads }, (_, i) => rowOf(i)) : [rowOf(9)];
    return Float32Array.from(all.flat());
  },
};
const patchesOf = (head: number): number[] =>
  rowOf(head)
    .slice(1 + registers)
    .map(Math.fround);

test('all heads, one head, and the mean', async () => {
  const all = (await attentionMap(features, -1, { query: { register: 1 } })) as PatchMap[];
  expect(all.map(({ values }) => [...values])).toEqual([0, 1, 2, 3, 4].map(patchesOf));
  for (const head of [0, 'mean'] as const) {
    const map = (await attentionMap(features, 3, { head })) as PatchMap;
    expect(map).toBeInstanceOf(PatchMap);
    expect([map.rows, map.cols, ...map.values]).toEqual([rows, cols, ...patchesOf(9)]);
  }
  expect(asked).toEqual([
    [-1, { query: { register: 1 } }],
    [3, { head: 0 }],
    [3, { head: 'mean' }],
  ]);
});

test('attention that is not finite is refused', async () => {
  const broken = { ...features, attention: async () => new Float32Array(numTokens).fill(NaN) };
  await expect(attentionMap(broken, 0, { head: 0 })).rejects.toMatchObject({ code: 'INPUT_NOT_FINITE' });
});

test('the rows of all tokens are no map', async () => {
  await expect(attentionMap(features, 0, { query: 'all' as never })).rejects.toMatchObject({
    code: 'OPTION_VALUE',
  });
});
