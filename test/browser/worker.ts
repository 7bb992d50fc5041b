// Worker side of the worker test in parity.browser.test.ts.
import { syntheticTensor } from '../../src/weights/synthetic.ts';
import { checkSupport, DINOv2, PCA } from '../../src/index.ts';

addEventListener('message', async ({ data }: MessageEvent<string>) => {
  try {
    const { ok } = await checkSupport();
    using model = await DINOv2.fromPretrained(data);
    using features = await model.forward(syntheticTensor('pixel_values.70x70', [1, 3, 70, 70]), {
      height: 70,
      width: 70,
    });
    const cls = await features.clsToken();
    const pca = await PCA.fit(features, { foreground: 'none' });
    const canvas = new OffscreenCanvas(1, 1);
    await pca.draw(features, canvas);
    const pixels = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data;
    postMessage({ ok, cls, distinct: new Set(new Uint32Array(pixels.buffer)).size });
  } catch (error) {
    postMessage({ error: String(error) });
  }
});
