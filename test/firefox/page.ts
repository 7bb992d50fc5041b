// The half of the Firefox tests that runs in the page: the test calls these by name.
import { parseSafetensors } from '../../src/checkpoint/safetensors.ts';
import { syntheticTensor } from '../../src/checkpoint/synthetic.ts';
import { checkSupport, DINOv2, type Dtype, type Support } from '../../src/index.ts';

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

  /** The last hidden state of a tiny model (56 × 98, batch 2) or of ViT-S (224 × 224) in another element type, and why it is that one. */
  async stored(kind: string, dtype: 'auto' | Dtype): Promise<{ values: number[]; dtype: Dtype; reason: string }> {
    const tiny = kind !== 'small';
    using model = await (tiny ? DINOv2.fromPretrained(new URL(`/test/fixtures/reference/tiny-${kind}/`, location.origin), { dtype }) : DINOv2.synthetic('small', { dtype }));
    const [height, width, batch] = tiny ? [56, 98, 2] : [224, 224, 1];
    using features = await model.forward(syntheticTensor(`pixel_values.${height}x${width}`, [batch, 3, height, width]), { height, width, batch });
    return { values: [...(await features.lastHiddenState())], dtype: model.dtype, reason: model.dtypeReason };
  },

  /** In how many of their values the pixels of the photographs differ from Python's, by name. Files, as a visitor drops them. */
  async photographs(): Promise<Record<string, { differing: number; largest: number }>> {
    using model = await DINOv2.fromPretrained(new URL('/test/fixtures/reference/tiny-plain/', location.origin), { selfTest: false });
    const found: Record<string, { differing: number; largest: number }> = {};
    for (const name of ['astronaut.png', 'chelsea.png', 'coffee.png', 'rocket.jpg']) {
      const fetched = async (path: string): Promise<Response> => fetch(new URL(path, location.origin));
      const { data } = await model.pixels(await (await fetched(`/demo/photos/${name}`)).blob());
      const bytes = new Uint8Array(await (await fetched(`/test/fixtures/photos/expected/${name.split('.')[0]}.pixel_values.safetensors`)).arrayBuffer());
      const { begin, end } = [...parseSafetensors(bytes).tensors.values()][0]!;
      const python = new Float32Array(bytes.slice(begin, end).buffer);
      let [differing, largest] = [0, 0];
      for (const [i, value] of python.entries()) {
        if (data[i] === value) continue;
        differing += 1;
        largest = Math.max(largest, Math.abs(data[i]! - value) * 255 * 0.225); // in steps of 255, of the channel with the smallest deviation
      }
      found[name] = { differing, largest };
    }
    return found;
  },

  /** The colours of an awkward image as the model is given them, in steps of 255, (height, width, 3); 42 × 28, which 'fit' leaves as it is. */
  async colours(name: string): Promise<number[]> {
    using model = await DINOv2.fromPretrained(new URL('/test/fixtures/reference/tiny-plain/', location.origin), { selfTest: false });
    const image = await (await fetch(new URL(`/test/fixtures/pixels/images/${name}`, location.origin))).blob();
    const { data, height, width } = await model.pixels(image, { resize: 'fit', longestSide: 42, orientation: 'ignore' });
    const [mean, std] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
    return Array.from({ length: height * width * 3 }, (_, i) => {
      const channel = i % 3;
      return Math.round((data[channel * height * width + Math.floor(i / 3)]! * std[channel]! + mean[channel]!) * 255);
    });
  },
};

declare global {
  var actions: typeof pageActions;
}
globalThis.actions = pageActions;
