/** `index`: adds images to an index on disk. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { UsageError } from '../arguments.mjs';
import { library, tools } from '../built.mjs';
import { checkPackages, imagesIn, isUrl, loadModel, modelAt, pixelOptions } from '../model.mjs';
import { checkFolderFor, reasonOf } from '../outputs.mjs';
import { EXIT } from '../table.mjs';
import { message, progressBar } from '../terminal.mjs';

/** The options of an index that its images and all queries must share. */
const SHARED = ['model', 'pooling', 'resize', 'size', 'orientation'];

export async function run({ positionals, options, given }) {
  const { index: folder, dtype, batch, prune, json } = options;
  const urls = positionals.filter(isUrl);
  if (urls.length > 0) throw new UsageError(`index: expected files and folders, found ${urls[0]}.`);
  const images = await imagesIn('index', positionals, () => undefined); // `ingest` reports folders
  for (const path of prune ? positionals : [])
    if (!(await stat(path).catch(() => undefined))?.isDirectory())
      throw new UsageError(
        `index: --prune needs folders, found ${path}. With a file or a pattern, it is not known which other images are missing. Pass the folder, or leave out --prune.`,
      );
  const settings = await settingsOf(folder, options, given);
  checkPackages('index', images);

  const model = await loadModel(settings.model, dtype);
  const { ingest } = await library();
  const index = await openIndex(folder, model, settings);
  const bar = progressBar('images', ' images');
  const total = { added: 0, updated: 0, unchanged: 0, removed: 0 };
  const failed = [];
  for (const each of positionals) {
    const before = { ...total };
    const report = await ingest(index, model, each, {
      ...optionsOf(settings),
      batchSize: batch,
      thumbnailPx: 0,
      removeMissing: prune,
      under: await prefixOf(each),
      onProgress: ({ added, updated, unchanged, failed: bad }) =>
        bar(
          before.added + before.updated + before.unchanged + added + updated + unchanged + bad,
          images.length,
        ),
    }).finished;
    for (const name of Object.keys(total)) total[name] += report[name];
    for (const { id, ids = [id], error } of report.failures)
      failed.push(...ids.map((one) => ({ path: pathOf(one), error: error.message })));
  }
  const { size } = index;
  index.dispose();
  model.dispose();
  for (const { path, error } of failed) message(`${path}: ${error}`);
  if (json) console.log(JSON.stringify({ index: resolve(folder), size, ...total, failed }, undefined, 2));
  else console.log(summary(folder, size, total, failed.length));
  if (failed.length > 0) process.exitCode = EXIT.incomplete;
}

function summary(folder, size, { added, updated, unchanged, removed }, failed) {
  const bad = failed > 0 ? `, ${failed} could not be used` : '';
  return `${folder}: ${size} images (${added} added, ${updated} updated, ${unchanged} unchanged, ${removed} removed${bad})`;
}

/**
 * Returns the settings of the index, or if it is new, those of the options.
 * @throws UsageError if an option contradicts the index
 */
async function settingsOf(folder, options, given) {
  const wanted = Object.fromEntries(SHARED.map((name) => [name, options[name]]));
  const stored = (await storedIn('index', folder))?.settings;
  if (given.has('model') || !stored) wanted.model = await modelAt('index', options.model);
  if (!stored) return wanted;
  for (const name of SHARED)
    if (given.has(name) && stored[name] !== wanted[name])
      throw new UsageError(
        `index: ${folder} was made with --${name} ${stored[name]}, found --${name} ${wanted[name]}. Leave the option out, or make another index.`,
      );
  return stored;
}

/**
 * Reads the settings of an index before a model is loaded. Undefined if there is no index yet.
 * @throws UsageError if the index could not be opened: not a folder, or no permission
 */
export async function storedIn(command, folder) {
  const writes = command === 'index';
  if (writes) await checkFolderFor(command, folder);
  const path = join(folder, 'index.log');
  try {
    const kind = await stat(path).catch((error) => {
      if (error.code !== 'ENOENT') throw error;
      return undefined;
    });
    if (kind && !kind.isFile()) throw new Error('it is not a file');
    if (kind) await access(path, writes ? constants.R_OK | constants.W_OK : constants.R_OK);
  } catch (error) {
    throw new UsageError(
      `${command}: the index cannot be used: ${path}: ${reasonOf(error)}. Choose another folder.`,
    );
  }
  return tools.readFolderIndex(folder);
}

/** The options of the library with which the images and the queries of an index are embedded. */
export const optionsOf = (settings) => ({ pooling: settings.pooling, ...pixelOptions(settings) });

/** Opens the index and records its settings. */
export async function openIndex(folder, model, settings) {
  const { EmbeddingIndex, modelIdentity } = await library();
  const { embedDim } = model.config;
  const index = await EmbeddingIndex.open(
    { folder },
    {
      dim: settings.pooling === 'cls+mean' ? 2 * embedDim : embedDim,
      model: await modelIdentity(model, { id: settings.model.slice(-200), ...optionsOf(settings) }),
      device: model.device,
    },
  );
  if (!(await index.getState(tools.SETTINGS))) await index.setState(tools.SETTINGS, settings);
  return index;
}

/** An id in the index is the absolute path, with slashes, without the first. */
async function prefixOf(source) {
  return dirname(resolve((await tools.baseOfPattern(source)) ?? source))
    .replaceAll('\\', '/')
    .replace(/^\/|\/$/g, '');
}

/** The path of an image with this id. */
export const pathOf = (id) => (process.platform === 'win32' ? id : `/${id}`);
