// Child process of node.mjs: this library in Node (Dawn).
import { installWebGpu } from '../adapter.mjs';
import { serve, timed } from '../child.mjs';
import { library } from '../load-source.mjs';

let model;
let forward;

serve({
  async load({ adapter, size, px, dtype }) {
    await installWebGpu(adapter);
    const { DINOv2, syntheticTensor } = await library();
    model = await DINOv2.synthetic(size, { dtype });
    const pixels = syntheticTensor(`pixel_values.${px}x${px}`, [1, 3, px, px]);
    forward = async () => {
      const features = await model.forward(pixels, { height: px, width: px });
      const tokens = await features.lastHiddenState();
      features.dispose();
      return tokens;
    };
    const { vendor, architecture, description } = model.adapter;
    return {
      adapter: description || `${vendor} ${architecture}`,
      embedDim: model.config.embedDim,
      dispatches: (await model.describe({ height: px, width: px })).split('\n').length - 1,
    };
  },
  output: () => forward(),
  time: ({ runs }) => timed(forward, runs),
});
