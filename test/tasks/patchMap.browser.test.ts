// PatchMap.draw on the canvases of a browser. patchMap.test.ts checks the colours.
import { expect, test } from 'vitest';
import { PatchMap } from '../../src/tasks/patchMap.ts';

const map = new PatchMap(2, 3, Float32Array.of(0, 1, 2, 3, 4, 5));

test.each(['HTMLCanvasElement', 'OffscreenCanvas'])('draws on an %s, at once and at any size', (kind) => {
  const canvas = kind === 'OffscreenCanvas' ? new OffscreenCanvas(9, 9) : document.createElement('canvas');
  for (const [width, height] of [
    [3, 2],
    [30, 20],
    [3, 2],
  ] as const) {
    map.draw(canvas, { width, height });
    expect([canvas.width, canvas.height]).toEqual([width, height]);
    const context = canvas.getContext('2d') as CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;
    expect(context.getImageData(0, 0, width, height).data).toEqual(map.rgba({ width, height }));
  }
});

test('a canvas with another context is refused', () => {
  const canvas = new OffscreenCanvas(1, 1);
  canvas.getContext('webgl');
  expect(() => map.draw(canvas)).toThrow(expect.objectContaining({ code: 'IMAGE_TYPE' }));
});
