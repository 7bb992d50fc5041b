// Our dispatches for a model at a size, from the graph: what each computes, its bytes, and its lanes.
import { source } from '../load-source.mjs';

const { configOf } = await source('src/model/config.ts');
const { buildForward } = await source('src/model/vit.ts');
const { lower, lanesOf, targetOf } = await source('src/gpu/lowering.ts');
const { flopsOf } = await source('src/gpu/program.ts');
const { F16_TARGET } = await source('src/weights/f16Arithmetic.ts');

/** Operations whose weights are stored as f16 in fp16 models. */
const MATRIX = /^(linear|patchEmbed)/;

/**
 * The dispatches of a forward pass of one image.
 * @param vendor the adapter's vendor, such as `intel`, which decides between the tiles
 * @param arithmetic `f16` for fp16 models on the GPUs that use f16 arithmetic
 */
export function dispatchesOf(model, px, dtype, vendor = '', arithmetic = 'f32') {
  const config = configOf(model);
  const rows = Math.floor(px / config.patchSize);
  const size = { batch: 1, rows, cols: rows, numTokens: rows * rows + 1 };
  const weights = dtype === 'fp16' ? 'f16' : 'f32';
  const target = {
    ...targetOf({ info: { software: false, vendor }, alternativesAgree: true }, weights),
    ...(arithmetic === 'f16' && F16_TARGET),
  };
  const { graph } = buildForward(config, { batch: 1, rows, cols: rows });
  return graph.nodes.map((node) => {
    const dispatch = lower(node, target, size);
    const { operation, inputs, output, label } = node;
    const sizeOf = ({ shape, kind }) => {
      const half = weights === 'f16' && kind === 'weight' && MATRIX.test(operation.kind) && shape.length > 1;
      return shape.reduce((x, y) => x * y) * (half ? 2 : 4);
    };
    const total = (values) => values.reduce((sum, value) => sum + sizeOf(value), 0);
    const weightBytes = total(inputs.filter(({ kind }) => kind === 'weight'));
    const activationBytes = total(inputs.filter(({ kind }) => kind !== 'weight')) + sizeOf(output);
    return {
      label,
      kind: operation.kind,
      kernel: dispatch.variant.kernel.name,
      flops: flopsOf(node, size),
      rows: output.shape[0],
      weightBytes,
      activationBytes,
      bytes: weightBytes + activationBytes,
      lanes: lanesOf(dispatch, size),
    };
  });
}

/** The number of dispatches of a block, and the bytes that they bind. */
export function blockBytes(model, px, dtype) {
  const block = dispatchesOf(model, px, dtype).filter(({ label }) => label.startsWith('blocks.0.'));
  return { dispatches: block.length, bytes: block.reduce((sum, { bytes }) => sum + bytes, 0) };
}
