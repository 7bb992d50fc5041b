import { expect, test } from 'vitest';
import { DINOv2 } from '../../src/index.ts';
import { watchLabels } from './labels.ts';
import { requestDevice, tiny } from './tiny.ts';

test('textures, render passes and frames of a video have labels too', async () => {
  const device = await requestDevice();
  const { unlabelled, made } = watchLabels(device);
  using model = await DINOv2.synthetic(tiny, { device });
  const canvas = new OffscreenCanvas(56, 56);
  canvas.getContext('2d')!.fillRect(0, 0, 20, 20);
  const bitmap = await createImageBitmap(canvas);
  const frame = new VideoFrame(canvas, { timestamp: 0 });
  const options = { resize: 'square', size: 56 } as const;
  using features = await model.features([bitmap, frame], options);
  using map = await features.similarity({ x: 3, y: 3 });
  await map.drawTo(new OffscreenCanvas(28, 28));
  frame.close();
  expect(unlabelled).toEqual([]);
  for (const what of ['createTexture', 'beginRenderPass', 'createRenderPipelineAsync'])
    expect([...made.keys()]).toContain(what);
  device.destroy();
});
