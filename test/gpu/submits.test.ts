import { describe, expect, test } from 'vitest';
import { laneKernels } from '../../src/gpu/kernels/laneKernels.ts';
import { EVERY_TILE } from '../../src/gpu/kernels/tunedKernels.ts';
import { lower, type Target } from '../../src/gpu/lowering.ts';
import { flopsOf } from '../../src/gpu/program.ts';
import { cutIntoRanges, splitByWork, SUBMIT_MS, type Axis, type Workgroups } from '../../src/gpu/submits.ts';
import { configOf } from '../../src/model/config.ts';
import { buildForward, countTokens } from '../../src/model/vit.ts';
import { Random } from '../random.ts';

const volume = (counts: Workgroups): number => counts.reduce((product, count) => product * count);

describe('cutIntoRanges', () => {
  test.each([
    ['little work stays whole', [4, 5, 6], [2, 0], 10, 10, [[0, 0, 0, 4, 5, 6]]],
    [
      'ranges have the same size, except for a smaller last one',
      [3, 10, 1],
      [1, 0],
      100,
      40,
      [
        [0, 0, 0, 3, 4, 1],
        [0, 4, 0, 3, 4, 1],
        [0, 8, 0, 3, 2, 1],
      ],
    ],
    [
      'is cut along a second axis if one step of the first is too much work',
      [4, 1, 2],
      [2, 0],
      80,
      20,
      [
        [0, 0, 0, 2, 1, 1],
        [2, 0, 0, 2, 1, 1],
        [0, 0, 1, 2, 1, 1],
        [2, 0, 1, 2, 1, 1],
      ],
    ],
    ['work without an axis to cut stays whole', [4, 1, 2], [], 80, 20, [[0, 0, 0, 4, 1, 2]]],
    [
      'is cut if an axis has more workgroups than WebGPU allows',
      [1, 1, 100_000],
      [2],
      0,
      20,
      [
        [0, 0, 0, 1, 1, 50_000],
        [0, 0, 50_000, 1, 1, 50_000],
      ],
    ],
  ] as const)('%s', (_, workgroups, axes, flops, most, expected) => {
    const ranges = cutIntoRanges(workgroups, axes, flops, most);
    expect(ranges.map((range) => [...range.first, ...range.workgroups])).toEqual(expected);
  });

  test('random: every workgroup is in exactly one range, and a range exceeds the limit only if it cannot be cut', () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = new Random(seed);
      const workgroups: Workgroups = [random.integer(1, 9), random.integer(1, 9), random.integer(1, 9)];
      const axes = ([0, 1, 2] as Axis[]).filter(() => random.integer(0, 2) > 0);
      const flops = random.integer(0, 1000);
      const most = random.integer(0, 300);
      const ranges = cutIntoRanges(workgroups, axes, flops, most);
      const met = new Set<string>();
      for (const { first, workgroups: own, flops: work } of ranges) {
        for (let x = 0; x < own[0]; x++)
          for (let y = 0; y < own[1]; y++)
            for (let z = 0; z < own[2]; z++) met.add([first[0] + x, first[1] + y, first[2] + z].join());
        expect(work).toBeCloseTo((flops * volume(own)) / volume(workgroups), 6);
        if (axes.some((axis) => own[axis] > 1)) expect(work).toBeLessThanOrEqual(most * (1 + 1e-6));
      }
      expect(met.size).toBe(volume(workgroups));
      expect(ranges.reduce((sum, range) => sum + volume(range.workgroups), 0)).toBe(volume(workgroups));
      for (const key of met) {
        const at = key.split(',').map(Number);
        expect(at.every((value, axis) => value < workgroups[axis]!)).toBe(true);
      }
    }
  });
});

const steps = (...flops: number[]): { flops: number }[] => flops.map((each) => ({ flops: each }));

describe('splitByWork', () => {
  test.each([
    ['a single batch if the total work is within the limit', steps(1, 2, 3), 6, [[0, 3]]],
    [
      'a batch ends before the step that would exceed the limit',
      steps(1, 2, 3),
      5,
      [
        [0, 2],
        [2, 3],
      ],
    ],
    [
      'a step that alone exceeds the limit is a batch of its own',
      steps(1, 9, 1),
      5,
      [
        [0, 1],
        [1, 2],
        [2, 3],
      ],
    ],
    [
      'with a limit of 0, every step is a batch of its own',
      steps(1, 1, 1),
      0,
      [
        [0, 1],
        [1, 2],
        [2, 3],
      ],
    ],
    [
      'steps without work share a batch with others',
      steps(0, 5, 0, 5, 0),
      5,
      [
        [0, 3],
        [3, 5],
      ],
    ],
    ['no work at all', steps(0, 0), 0, [[0, 2]]],
    ['one step', steps(7), 1, [[0, 1]]],
  ] as const)('%s', (_, given, flops, expected) => {
    expect(splitByWork(given, flops).map(({ begin, end }) => [begin, end])).toEqual(expected);
  });

  test('random steps: each runs exactly once, and a batch exceeds the limit only if it is a single step', () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = new Random(seed);
      const given = steps(...Array.from({ length: random.integer(1, 60) }, () => random.integer(0, 100)));
      const most = random.integer(0, 300);
      const batches = splitByWork(given, most);
      expect(batches[0]!.begin).toBe(0);
      expect(batches.at(-1)!.end).toBe(given.length);
      batches.forEach(({ begin, end }, index) => {
        expect(end).toBeGreaterThan(begin);
        if (index > 0) expect(begin).toBe(batches[index - 1]!.end);
        const work = given.slice(begin, end).filter(({ flops }) => flops > 0);
        if (work.length > 1)
          expect(work.reduce((sum, { flops }) => sum + flops, 0)).toBeLessThanOrEqual(most);
      });
    }
  });
});

describe('a forward on an adapter of 0.3 TFLOP/s', () => {
  const families: readonly Omit<Target, 'weights'>[] = [
    { software: false },
    { software: false, ...EVERY_TILE },
    { software: true },
    { software: true, laneKernels: laneKernels[4] },
    { software: true, laneKernels: laneKernels[8] },
  ];
  const most = 0.3e12 * (SUBMIT_MS / 1000);

  /** Estimated ms of every dispatch and every submit, and the number of dispatches that were cut. */
  function planOf(
    model: 'small' | 'large' | 'giant',
    px: number,
    batch: number,
    target: Omit<Target, 'weights'>,
  ): { dispatchesMs: number[]; submitsMs: number[]; steps: number } {
    const config = configOf(model);
    const side = Math.floor(px / 14);
    const grid = { batch, rows: side, cols: side };
    const size = { ...grid, numTokens: countTokens(config, grid) };
    const { nodes } = buildForward(config, grid).graph;
    const ranges = nodes.flatMap((node) => {
      const { workgroups, cuts = [] } = lower(node, { ...target, weights: 'f32' }, size);
      return cutIntoRanges(workgroups(size), cuts, flopsOf(node, size), most);
    });
    const msOf = (flops: number): number => (SUBMIT_MS * flops) / most;
    return {
      dispatchesMs: ranges.map(({ flops }) => msOf(flops)),
      submitsMs: splitByWork(ranges, most).map(({ begin, end }) =>
        msOf(ranges.slice(begin, end).reduce((sum, { flops }) => sum + flops, 0)),
      ),
      steps: nodes.length,
    };
  }

  test.each([
    ['small', 3570, 1],
    ['large', 1918, 1],
    ['giant', 518, 1],
    ['giant', 518, 64],
    ['small', 224, 256],
  ] as const)(
    '%s at %i px, batch %i: no dispatch and no submit is estimated to take longer than 100 ms',
    (model, px, batch) => {
      for (const target of families) {
        const { dispatchesMs, submitsMs, steps } = planOf(model, px, batch, target);
        expect(Math.max(...dispatchesMs)).toBeLessThanOrEqual(SUBMIT_MS * 1.000001);
        expect(Math.max(...submitsMs)).toBeLessThanOrEqual(SUBMIT_MS * 1.000001);
        expect(dispatchesMs.length).toBeGreaterThan(steps);
      }
    },
  );

  test('small at 224 px: one dispatch for each operation', () => {
    for (const target of families) {
      const { dispatchesMs, steps } = planOf('small', 224, 1, target);
      expect(dispatchesMs.length).toBe(steps);
    }
  });
});
