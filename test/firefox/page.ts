// The half of the Firefox tests that runs in the page: the test calls these by name.
import { syntheticTensor } from '../../src/checkpoint/synthetic.ts';
import { checkSupport, DINOv2, type Dtype, type Support } from '../../src/index.ts';
import { requestDevice } from '../gpu/tiny.ts';
import { checkpointBytes, massiveModel } from '../model/dtypeCases.ts';
import { filesThatDiffer, photographsThatDiffer, pngsThatDiffer, sizesThatDiffer, type Differing } from './pixels.ts';

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

  /** The same of a tiny model on a device without shader-f16: f16 packed in u32. */
  async packed(kind: string): Promise<{ values: number[]; reason: string }> {
    const device = await requestDevice();
    try {
      using model = await DINOv2.fromPretrained(new URL(`/test/fixtures/reference/tiny-${kind}/`, location.origin), { dtype: 'fp16', device });
      using features = await model.forward(syntheticTensor('pixel_values.56x98', [2, 3, 56, 98]), { height: 56, width: 98, batch: 2 });
      return { values: [...(await features.lastHiddenState())], reason: model.dtypeReason };
    } finally {
      device.destroy();
    }
  },

  /** What leaves the last block of a tiny model with massive activations (56 × 98, batch 2), and the last hidden state. */
  async massive(kind: 'plain' | 'registers' | 'swiglu', dtype: Dtype): Promise<{ residual: number[]; last: number[] }> {
    const { config, edits } = massiveModel(kind);
    using model = await DINOv2.fromFiles({ weights: checkpointBytes(config, edits) }, { dtype });
    using features = await model.forward(syntheticTensor('pixel_values.56x98', [2, 3, 56, 98]), { height: 56, width: 98, batch: 2 }, { layers: [4] });
    return { residual: [...(await features.hiddenState(4))], last: [...(await features.lastHiddenState())] };
  },

  /** What differs from Python, by name (pixels.ts). */
  files: filesThatDiffer,
  photographs: photographsThatDiffer,
  pngs: pngsThatDiffer,
  sizes: sizesThatDiffer,

  filesInWorker: (): Promise<Differing> => {
    const worker = new Worker(new URL('./pixels.worker.ts', import.meta.url), { type: 'module' });
    const answer = new Promise<Differing>((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
    });
    worker.postMessage('begin');
    return answer.finally(() => worker.terminate());
  },
};

declare global {
  var actions: typeof pageActions;
}
globalThis.actions = pageActions;
