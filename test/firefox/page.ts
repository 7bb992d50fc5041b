// The half of the Firefox tests that runs in the page: the test calls these by name.
import { syntheticTensor } from '../../src/checkpoint/synthetic.ts';
import { checkSupport, DINOv2, type Support } from '../../src/index.ts';

const pageActions = {
  support: (): Promise<Support> => checkSupport(),

  /** The last hidden state of a tiny model at 56 × 98, batch 2. */
  async tiny(kind: string): Promise<number[]> {
    using model = await DINOv2.fromPretrained(new URL(`/test/fixtures/reference/tiny-${kind}/`, location.origin));
    using features = await model.forward(syntheticTensor('pixel_values.56x98', [2, 3, 56, 98]), { height: 56, width: 98, batch: 2 });
    return [...(await features.lastHiddenState())];
  },

  /** The last hidden state of ViT-S at 224 × 224, and how long a warm forward took. */
  async small(): Promise<{ values: number[]; ms: number }> {
    using model = await DINOv2.synthetic('small');
    const pixels = syntheticTensor('pixel_values.224x224', [1, 3, 224, 224]);
    using first = await model.forward(pixels, { height: 224, width: 224 }); // drivers compile at the first run
    await first.clsToken();
    const startMs = performance.now();
    using features = await model.forward(pixels, { height: 224, width: 224 });
    const values = [...(await features.lastHiddenState())];
    return { values, ms: performance.now() - startMs };
  },
};

declare global {
  var actions: typeof pageActions;
}
globalThis.actions = pageActions;
