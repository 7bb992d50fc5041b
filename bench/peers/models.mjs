// Prepares the ONNX models: the graphs come from make_onnx.py, and the weights are computed here by a
// formula.
import { existsSync, linkSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const modelsFolder = process.env.PEER_MODELS ?? fileURLToPath(new URL('models', import.meta.url));

/**
 * Writes a model's weights beside its graph, unless the file of weights exists.
 * @param library `syntheticTensor` and `f32ToF16` of the library
 * @returns `onnx` and `bin`: paths of the graph and the weights; `binName`: name of the weights' file in the
 *   graph
 */
export async function prepareModel(name, { syntheticTensor, f32ToF16 }) {
  const onnx = join(modelsFolder, `${name}.onnx`);
  if (!existsSync(onnx)) {
    const [, model, px, dtype, form] = name.split('-');
    throw new Error(
      `${onnx} is missing. Make it: python bench/peers/make_onnx.py ${modelsFolder} --model ${model} --px ${px} --dtype ${dtype} --form ${form}`,
    );
  }
  const layout = readFileSync(onnx.replace(/onnx$/, 'json'), 'utf8');
  const { dtype, bytes, tensors } = JSON.parse(layout);
  const bin = onnx.replace(/onnx$/, 'bin');
  const complete = (file) => existsSync(file) && statSync(file).size === bytes;
  // Graphs of one model and type have the same weights at the same places.
  const same = readdirSync(modelsFolder)
    .filter((file) => file.endsWith('.json') && complete(join(modelsFolder, file.replace(/json$/, 'bin'))))
    .find((file) => readFileSync(join(modelsFolder, file), 'utf8') === layout);
  if (!existsSync(bin) && same) linkSync(join(modelsFolder, same.replace(/json$/, 'bin')), bin);
  if (!complete(bin)) {
    const file = await open(`${bin}.part`, 'w');
    await file.truncate(bytes);
    for (const { tensor, shape, transposed, offset } of tensors) {
      let values = syntheticTensor(tensor, shape);
      if (transposed) values = transpose(values, ...shape);
      if (dtype === 'fp16') {
        const halves = new Uint16Array(values.length);
        f32ToF16(values, halves);
        values = halves;
      }
      await file.write(
        new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
        0,
        values.byteLength,
        offset,
      );
    }
    await file.close();
    renameSync(`${bin}.part`, bin);
  }
  return { onnx, bin, binName: `${name}.bin` };
}

function transpose(values, rows, columns) {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      out[column * rows + row] = values[row * columns + column];
  return out;
}
