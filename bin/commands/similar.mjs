/** `similar`: ranks images by their similarity to one image. */
import { realpath } from 'node:fs/promises';
import { UsageError } from '../arguments.mjs';
import { library } from '../built.mjs';
import { checkPackages, failureText, imagesIn, isUrl, loadModel, modelAt, pixelOptions } from '../model.mjs';
import { EXIT } from '../table.mjs';
import { message, progressBar } from '../terminal.mjs';

export async function run({ positionals, options }) {
  const { top, json, pooling, batch, dtype } = options;
  const [[query, ...more], others] = await Promise.all([
    imagesIn('similar', positionals.slice(0, 1)),
    imagesIn('similar', positionals.slice(1)),
  ]);
  // The first image of a folder or pattern would be an arbitrary choice.
  if (more.length > 0)
    throw new UsageError(`similar: expected one image first, found ${more.length + 1} in ${positionals[0]}.`);
  const itself = await real(query);
  const images = [];
  for (const path of others) if ((await real(path)) !== itself) images.push(path);
  const where = await modelAt('similar', options.model);
  checkPackages('similar', [query, ...images]);

  const model = await loadModel(where, dtype);
  const { cosineSimilarity } = await library();
  const settings = { pooling, ...pixelOptions(options) };
  const vector = await model.embed(query, settings);
  const bar = progressBar('images', ' images');
  const hits = [];
  const failed = [];
  for await (const { index, embedding, error } of model.embedAll(images, { ...settings, batchSize: batch })) {
    if (error) failed.push({ path: images[index], error: error.message });
    else hits.push({ path: images[index], score: cosineSimilarity(vector, embedding) });
    bar(hits.length + failed.length, images.length);
  }
  model.dispose();
  hits.sort((a, b) => b.score - a.score || (a.path < b.path ? -1 : 1));
  const best = hits.slice(0, top);
  if (json) console.log(JSON.stringify({ query, hits: best, failed }, undefined, 2));
  else for (const hit of best) console.log(hitText(hit));
  for (const { path, error } of failed) message(failureText(path, { message: error }));
  if (failed.length > 0) process.exitCode = hits.length > 0 ? EXIT.incomplete : EXIT.failed;
}

/** One line for a hit: the score and the path. */
export const hitText = ({ score, path }) => `${score.toFixed(4).padStart(7)}  ${path}`;

const real = (path) => (isUrl(path) ? path : realpath(path).catch(() => path));
