/** `synthetic`: writes a checkpoint with weights by formula. */
import { join } from 'node:path';
import { UsageError } from '../arguments.mjs';
import { tools } from '../built.mjs';
import { checkOutputs, writeAll, writeText, writing } from '../outputs.mjs';
import { byteBar } from '../terminal.mjs';

export async function run({ positionals: [size, folder], options: { registers, seed, force } }) {
  if (!['small', 'base', 'large', 'giant'].includes(size))
    throw new UsageError(`synthetic: expected small, base, large or giant, found ${size}.`);
  const path = join(folder, 'model.safetensors');
  const configPath = join(folder, 'config.json');
  await checkOutputs('synthetic', [path, configPath], force);
  const config = tools.configOf(size, { registers: registers ?? false });
  const { header, pieces } = tools.syntheticStream(tools.huggingFaceTensors(tools.parameters(config)), {
    seed,
    onProgress: byteBar('synthetic'),
  });
  await writing(path, async (file) => {
    await writeAll(file, tools.encodeSafetensorsHeader(header.tensors, header.metadata).bytes, 0);
    for await (const { info, offset, bytes } of pieces) await writeAll(file, bytes, info.begin + offset);
    await writeText(configPath, `${JSON.stringify(tools.configJson(config), undefined, 2)}\n`);
  });
  console.log(`${path}: ${header.tensors.size} tensors, ${header.fileBytes} bytes`);
}
