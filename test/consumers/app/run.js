// What every project here bundles: the library on the page and in a worker, and the search.
import { DINOv2 } from 'dinov2-webgpu';
import { EmbeddingIndex } from 'dinov2-webgpu/search';
import { DINOv2 as WorkerDINOv2 } from 'dinov2-webgpu/worker';

/** An image of 98 × 70 pixels. */
const image = {
  width: 98,
  height: 70,
  data: Uint8ClampedArray.from({ length: 98 * 70 * 4 }, (_, i) => i * 7),
};

async function embedWith(Model, options) {
  const model = await Model.fromPretrained('facebook/dinov2-small', options);
  const vector = await model.embed(image);
  model.dispose();
  return vector;
}

/**
 * Calls `show` with the result of the page, then with the result of the worker: `ok`, or the error.
 * @param options options of the worker's model
 */
export async function run(show, options = {}) {
  let expected;
  const attempt = async (name, act) => {
    try {
      await act();
      show(name, 'ok');
    } catch (error) {
      show(name, `${error.code ?? error.name}: ${error.message}`);
    }
  };
  await attempt('page', async () => {
    expected = await embedWith(DINOv2);
    const index = new EmbeddingIndex({ dim: expected.length });
    await index.add('image', expected);
    const [hit] = await index.search(expected);
    if (!(hit.score > 0.99)) throw new Error(`the score of the image with itself is ${hit.score}`);
  });
  await attempt('worker', async () => {
    const found = await embedWith(WorkerDINOv2, options);
    if (!found.every((value, i) => value === expected[i])) throw new Error('other numbers than on the page');
  });
}
