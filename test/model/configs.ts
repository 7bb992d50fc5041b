// Random configurations, and the error of their models relative to the float64 reference.
import { huggingFaceTensors } from '../../src/weights/huggingFace.ts';
import { syntheticTensor } from '../../src/weights/synthetic.ts';
import { DINOv2 } from '../../src/dinov2.ts';
import { HEAD_DIM } from '../../src/graph/constants.ts';
import { checkConfig, configOf, type DINOv2Config } from '../../src/model/config.ts';
import { parameters } from '../../src/model/parameters.ts';
import { maxError } from '../parity.ts';
import { Random } from '../random.ts';
import { forward } from '../reference/forward.ts';

function anyConfig(random: Random): DINOv2Config {
  const numHeads = random.integer(1, 3);
  const patchSize = random.integer(1, 17);
  const ffn = random.pick(['mlp', 'swiglu'] as const);
  return {
    ...configOf('small'),
    embedDim: numHeads * HEAD_DIM,
    numHeads,
    depth: 1,
    patchSize,
    imageSize: patchSize * random.integer(1, 4) + random.integer(0, patchSize - 1),
    numRegisterTokens: random.pick([0, 0, 1, 4, 5, 8]),
    ffn,
    hiddenFeatures: random.pick([1, 2, 4]) * random.integer(1, 130),
    layerNormEps: random.pick([1e-6, 1e-5, 1e-12]),
    posEmbed: random.pick(['plain', 'antialias', 'offset'] as const),
  };
}

export const refused = (config: DINOv2Config): boolean => {
  try {
    checkConfig(config);
    return false;
  } catch {
    return true;
  }
};

/** Returns a parameter's values, assembled from the Hugging Face tensors of a synthetic model. */
function valuesOf(config: DINOv2Config): (name: string) => Float32Array {
  const all = new Map(parameters(config).map((parameter) => [parameter.name, parameter]));
  const order = ['query', 'key', 'value'];
  return (name) => {
    const tensors = huggingFaceTensors([all.get(name)!]).sort(
      (a, b) =>
        order.findIndex((part) => a.name.includes(part)) - order.findIndex((part) => b.name.includes(part)),
    );
    return Float32Array.from(tensors.flatMap((tensor) => [...syntheticTensor(tensor.name, tensor.shape)]));
  };
}

const random = new Random(13);
export const cases: readonly DINOv2Config[] = Array.from({ length: 40 }, () => anyConfig(random));

/** The largest error of a synthetic model's last hidden state, for an image of 2 × 3 patches. */
export async function errorOf(config: DINOv2Config, device: GPUDevice): Promise<number> {
  using model = await DINOv2.synthetic(config, { device, selfTest: false });
  const [rows, cols] = [2, 3];
  const [height, width] = [rows * config.patchSize, cols * config.patchSize];
  const pixels = syntheticTensor(`pixel_values.${height}x${width}`, [1, 3, height, width]);
  using features = await model.forward(pixels, { height, width });
  const expected = forward(config, valuesOf(config), pixels, rows, cols);
  return maxError(await features.lastHiddenState(), Float32Array.from(expected));
}
