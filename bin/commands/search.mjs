/** `search`: finds images in an index. */
import { realpath } from 'node:fs/promises';
import { relative, resolve, sep } from 'node:path';
import { UsageError } from '../arguments.mjs';
import { checkPackages, failureText, imagesIn, isUrl, loadModel } from '../model.mjs';
import { EXIT } from '../table.mjs';
import { message } from '../terminal.mjs';
import { openIndex, optionsOf, pathOf, storedIn } from './index.mjs';
import { hitText } from './similar.mjs';

export async function run({ positionals, options }) {
  const { index: folder, top, json, dtype } = options;
  const images = await imagesIn('search', positionals);
  const found = await storedIn('search', folder);
  if (!found)
    throw new UsageError(`search: there is no index in ${folder}. Make one with the command index.`);
  const { settings } = found;
  if (!settings)
    throw new UsageError(
      `search: ${folder} was made by a program, not by the command index, and does not record how its images were prepared. Search it with that program, or make a new index with the command index.`,
    );
  checkPackages('search', images);

  const model = await loadModel(settings.model, dtype);
  const index = await openIndex(folder, model, settings);
  const results = [];
  for (const query of images) results.push(await searchOne(query));
  index.dispose();
  model.dispose();
  const failed = results.filter(({ error }) => error !== undefined);
  if (json) console.log(JSON.stringify(results, undefined, 2));
  else
    for (const { query, hits } of results.filter(({ hits }) => hits)) {
      if (images.length > 1) console.log(`${query}:`);
      for (const hit of hits) console.log(hitText({ ...hit, path: shortened(hit.path) }));
    }
  for (const { query, error } of failed) message(failureText(query, { message: error }));
  if (failed.length > 0) process.exitCode = failed.length < results.length ? EXIT.incomplete : EXIT.failed;

  async function searchOne(query) {
    const own = isUrl(query)
      ? [query]
      : [resolve(query), await realpath(query)].map((path) => path.replaceAll(sep, '/'));
    try {
      const vector = await model.embed(query, optionsOf(settings));
      const hits = await index.search(vector, { topK: top, filter: (id) => !own.includes(pathOf(id)) });
      return { query, hits: hits.map(({ id, score }) => ({ path: pathOf(id), score })) };
    } catch (error) {
      if (error.name !== 'ImageError') throw error;
      return { query, error: error.message };
    }
  }
}

/** A path below the working directory is printed without it. */
function shortened(path) {
  const short = relative('.', path);
  return short.startsWith('..') ? path : short;
}
