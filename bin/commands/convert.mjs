/** `convert`: writes a checkpoint with narrower weights. */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { tools } from '../built.mjs';
import { checkInput, describe, openIn, textBeside } from '../checkpoints.mjs';
import { checkApart, checkOutputs, writeAll, writeText, writing } from '../outputs.mjs';
import { byteBar, message } from '../terminal.mjs';

export async function run({ positionals: [input], options: { dtype, out, prefix, force } }) {
  await checkInput('convert', input);
  const path = join(out, 'model.safetensors');
  await checkApart('convert', [input, join(input, 'model.safetensors')], [out, path]);
  await checkOutputs('convert', [path], force);
  const original = await textBeside(input, 'config.json');
  const described = describe(original);
  const preprocessor = tools.convertedPreprocessor(
    await textBeside(input, 'preprocessor_config.json'),
    original,
  );
  const stream = await openIn(input, byteBar('convert'));
  const { config, tensors } = tools.settleAny(stream.header, described, { prefix });
  const labels = await tools.labelsOf(stream, config, tensors.prefix, described);
  const configText = tools.convertedConfig(config, original, labels);
  const texts = [[join(out, 'config.json'), configText]];
  if (preprocessor !== undefined) texts.push([join(out, 'preprocessor_config.json'), preprocessor]);
  const changed = [];
  for (const [to, text] of texts)
    if ((await readFile(to, 'utf8').catch(() => undefined)) !== text) changed.push([to, text]);
  const outputs = changed.map(([to]) => to);
  await checkOutputs('convert', outputs, force);
  let converted;
  await writing(path, async (file, part) => {
    const write = (position, bytes) => writeAll(file, bytes, position);
    converted = await tools.convertCheckpoint(stream, dtype, write, { described, prefix });
    await file.sync();
    const written = await tools.openCheckpoint([{ name: path, source: resolve(part) }]);
    await written.cancel();
    tools.settleAny(written.header, describe(configText)); // throws if the new file could not be loaded
    for (const [to, text] of changed) await writeText(to, text);
  });
  const { header, setAside, assumed } = converted;
  for (const sentence of assumed) message(`assumed: ${sentence}`);
  if (setAside.length > 0)
    message(
      `left out (not part of the model): ${setAside.slice(0, 8).join(', ')}${setAside.length > 8 ? ` and ${setAside.length - 8} more` : ''}`,
    );
  console.log(
    `${path}: ${header.tensors.size} tensors, ${header.fileBytes} bytes (original: ${stream.header.fileBytes})`,
  );
}
