/** The example code of the page Live. */
import { describe, expect, it } from 'vitest';
import { tabs } from '../../demo/live/address.js';
import { code, type CodeState } from '../../demo/live/code.js';
import type { Picked } from '../../demo/live/showing.js';

const frame = {};
const pick = (row: number, col: number, on = true, more: Partial<Picked> = {}): Picked => ({
  x: 0.5,
  y: 0.5,
  on,
  region: { row, col, rows: 1, cols: 1 },
  grid: { rows: 6, cols: 8 },
  frame,
  ...more,
});
const state: CodeState = {
  tab: 'pca',
  choice: { size: 'small', registers: false, weights: 'synthetic', dtype: 'fp32' },
  source: 'example',
  facing: 'user',
  side: 112,
  software: false,
  smooth: true,
  opacity: 80,
  picks: [],
};

describe.each(tabs)('on the tab %s', (tab) => {
  it('loads the chosen model, with its registers and element type', () => {
    const of = (choice: Partial<CodeState['choice']>): string =>
      code({ ...state, tab, choice: { ...state.choice, ...choice } });
    expect(of({})).toContain(`DINOv2.synthetic('small');`);
    expect(of({ registers: true, dtype: 'fp16' })).toContain(
      `DINOv2.synthetic('small', { registers: true, dtype: 'fp16' });`,
    );
    expect(of({ weights: 'hub', registers: true, dtype: 'int8' })).toContain(
      `DINOv2.fromPretrained('facebook/dinov2-with-registers-small', { dtype: 'int8' });`,
    );
  });

  it('has the input, the edges of patches and the opacity of the page', () => {
    const picks = [pick(3, 4), pick(0, 0, false)];
    const text = code({ ...state, tab, side: 448, smooth: false, opacity: 35, software: true, picks });
    expect(text).toMatch(/longestSide: 448,\n {2}maxInFlight: 1,.*\n/);
    expect(text).toMatch(/drawTo\(.*smooth: false \}\)/);
    expect(text).toContain('opacity: 35%');
    expect(code({ ...state, tab, picks })).not.toMatch(/maxInFlight|smooth/);
  });

  it('is JavaScript, with picks and without', () => {
    const isModule = (text: string): void => {
      const body = text.replace(/^import .*$/m, '');
      expect(() => new Function(`return async () => { ${body} \n};`)).not.toThrow();
    };
    for (const source of ['example', 'camera', 'file'] as const) {
      isModule(code({ ...state, tab, source }));
      isModule(code({ ...state, tab, source, picks: [pick(3, 4), pick(0, 0, false)] }));
    }
  });
});

it('compares with the clicked patch, or with the mean of several', () => {
  expect(code({ ...state, tab: 'similarity', picks: [pick(3, 4)] })).toContain(
    'vector = read.vector({ row: 3, col: 4 }); // of 6 × 8 patches, in the frame that was clicked',
  );
  const grid = { rows: 12, cols: 16 };
  const two = [pick(3, 4), pick(11, 9, true, { grid, frame: {} })];
  expect(code({ ...state, tab: 'similarity', picks: two })).toMatch(
    /of 6 × 8 and 12 × 16 patches, in the frames that were clicked\n.*row: 3, col: 4.*\n.*row: 11, col: 9/,
  );
});

it('segments by the clicks', () => {
  expect(code({ ...state, tab: 'segments', picks: [pick(3, 4), pick(0, 1, false), pick(2, 2)] })).toMatch(
    /positive: \[\{ row: 3, col: 4 \}, \{ row: 2, col: 2 \}\],\n.*negative: \[\{ row: 0, col: 1 \}\]/,
  );
  expect(code({ ...state, tab: 'segments', picks: [pick(3, 4)] })).not.toContain('fit(');
});

it('tracks the region that was taken', () => {
  const region = { row: 2, col: 1, rows: 3, cols: 5 };
  expect(code({ ...state, tab: 'tracking', picks: [pick(3, 3, true, { region })] })).toContain(
    'mask: { row: 2, col: 1, rows: 3, cols: 5 },',
  );
  expect(code({ ...state, tab: 'tracking' })).not.toContain('mask');
});

it('gets the frames from where the page gets them', () => {
  expect(code({ ...state, source: 'camera' })).toMatch(
    /getUserMedia[^]*live\(stream.getVideoTracks\(\)\[0\],/,
  );
  expect(code({ ...state, source: 'camera', facing: 'environment' })).toContain(`facingMode: 'environment'`);
  expect(code({ ...state, source: 'file' })).toContain('live(video,');
  expect(code(state)).toContain('live(stream,');
});
