/** `embed`: writes vectors of images. */
import { extname, join } from 'node:path';
import { UsageError } from '../arguments.mjs';
import { tools } from '../built.mjs';
import { checkPackages, failureText, imagesIn, loadModel, modelAt, pixelOptions } from '../model.mjs';
import { checkApart, checkOutputs, writeAll, writeText, writing } from '../outputs.mjs';
import { EXIT } from '../table.mjs';
import { message, progressBar } from '../terminal.mjs';

export async function run({ positionals, options }) {
  const { out, pooling, normalize, batch, dtype, force } = options;
  const format = extname(out);
  if (!['.npy', '.safetensors'].includes(format))
    throw new UsageError(`embed: expected --out FILE.npy or FILE.safetensors, found ${out}.`);
  const images = await imagesIn('embed', positionals);
  const namesPath = `${out}.txt`; // one image name for each line, because a .npy file cannot hold names
  const broken = images.find((path) => format === '.npy' && /[\r\n]/.test(path));
  if (broken !== undefined)
    throw new UsageError(
      `embed: expected image names without line breaks, found ${JSON.stringify(broken)}. Use --out FILE.safetensors.`,
    );
  const outputs = format === '.npy' ? [out, namesPath] : [out];
  const { model: id } = options;
  await checkApart('embed', [...images, id, join(id, 'model.safetensors'), join(id, 'config.json')], outputs);
  await checkOutputs('embed', outputs, force);
  const where = await modelAt('embed', id);
  checkPackages('embed', images);

  const model = await loadModel(where, dtype);
  const bar = progressBar('images', ' images');
  const vectors = [];
  const failed = [];
  const settings = { pooling, normalize, batchSize: batch, ...pixelOptions(options) };
  for await (const { index, embedding, error } of model.embedAll(images, settings)) {
    if (error) failed.push(failureText(images[index], error));
    else vectors.push([images[index], embedding]);
    bar(vectors.length + failed.length, images.length);
  }
  model.dispose();
  for (const line of failed) message(line);
  if (vectors.length === 0) throw new Error('embed: no image could be used.');
  await write(vectors, { out, namesPath, id, pooling, isNpy: format === '.npy' });
  const [[, { length }]] = vectors;
  console.log(
    `${out}: ${vectors.length} × ${length}${failed.length > 0 ? `, ${failed.length} images could not be used` : ''}`,
  );
  if (failed.length > 0) process.exitCode = EXIT.incomplete;
}

async function write(vectors, { out, namesPath, id, pooling, isNpy }) {
  const columns = vectors[0][1].length;
  const all = new Float32Array(vectors.length * columns);
  vectors.forEach(([, vector], i) => all.set(vector, i * columns));
  const names = vectors.map(([name]) => name);
  const bytes = isNpy
    ? tools.encodeNpy(all, names.length, columns)
    : tools.encodeSafetensors(
        [['embeddings', { dtype: 'F32', shape: [names.length, columns], data: all }]],
        [
          ['names', JSON.stringify(names)],
          ['model', id],
          ['pooling', pooling],
        ],
      );
  await writing(out, async (file) => {
    await writeAll(file, bytes, 0);
    if (isNpy) await writeText(namesPath, `${names.join('\n')}\n`);
  });
}
