/** `pca`: draws the main components of patches. */
import { basename, extname, join } from 'node:path';
import { stat } from 'node:fs/promises';
import { UsageError } from '../arguments.mjs';
import { library } from '../built.mjs';
import { checkPackages, failureText, imagesIn, loadModel, modelAt, pixelOptions } from '../model.mjs';
import { checkApart, checkOutputs, writeBytes } from '../outputs.mjs';
import { EXIT } from '../table.mjs';
import { message, progressBar } from '../terminal.mjs';

/** Largest number of images to which a common basis is fitted: their features stay on the GPU meanwhile. */
const MOST_FITTED = 64;

/** Returns the pictures' paths in the order of the images. */
async function outputsOf(images, out) {
  const isFolder = (await stat(out).catch(() => undefined))?.isDirectory() === true;
  if (extname(out).toLowerCase() === '.png' && !isFolder) {
    if (images.length > 1)
      throw new UsageError(`pca: expected --out FOLDER for ${images.length} images, found ${out}.`);
    return [out];
  }
  const paths = images.map((path) => join(out, `${basename(path, extname(path))}.png`));
  const keys = paths.map((path) => path.normalize().toLowerCase()); // some file systems do not tell case apart
  const twice = keys.findIndex((key, i) => keys.indexOf(key) !== i);
  if (twice < 0) return paths;
  const other = images[keys.indexOf(keys[twice])];
  throw new UsageError(
    `pca: ${other} and ${images[twice]} would both be drawn as ${paths[twice]}. Draw them into different folders.`,
  );
}

export async function run({ positionals, options }) {
  const { out, dtype, force, separate } = options;
  const images = await imagesIn('pca', positionals);
  const outputs = await outputsOf(images, out);
  await checkApart('pca', images, outputs);
  await checkOutputs('pca', outputs, force);
  const where = await modelAt('pca', options.model);
  checkPackages('pca', images);

  const model = await loadModel(where, dtype);
  const draw = new Drawing(model, images, options);
  if (!separate && images.length > 1) await draw.fitCommon();
  const bar = progressBar('images', ' images');
  for (const [i, path] of outputs.entries()) {
    const png = await draw.png(i);
    if (png) await writeBytes(path, png);
    bar(i + 1, images.length);
  }
  model.dispose();
  for (const line of draw.failed) message(line);
  const drawn = images.length - draw.failed.length;
  if (drawn === 0) throw new Error('pca: no image could be used.');
  console.log(images.length === 1 ? outputs[0] : `${out}: ${drawn} pictures`);
  if (draw.failed.length > 0) process.exitCode = EXIT.incomplete;
}

class Drawing {
  failed = [];
  #model;
  #images;
  #options;
  /** Features that are kept from the fit, by the position of the image; undefined for a broken image. */
  #kept = new Map();
  #basis;

  constructor(model, images, options) {
    this.#model = model;
    this.#images = images;
    this.#options = options;
  }

  /** Fits one basis to the images, or to an evenly spaced selection of them. */
  async fitCommon() {
    const count = Math.min(this.#images.length, MOST_FITTED);
    const bar = progressBar('basis ', ' images');
    for (let k = 0; k < count; k++) {
      const i = Math.floor((k * this.#images.length) / count);
      this.#kept.set(i, await this.#compute(i));
      bar(k + 1, count);
    }
    const found = [...this.#kept.values()].filter(Boolean);
    if (found.length > 0) this.#basis = await this.#fit(found);
  }

  /** Draws an image. Returns undefined if it cannot be used. */
  async png(i) {
    const features = this.#kept.has(i) ? this.#kept.get(i) : await this.#compute(i);
    this.#kept.delete(i);
    if (!features) return undefined;
    const basis = this.#basis ?? (await this.#fit(features));
    const { scale = this.#model.config.patchSize, smooth } = this.#options;
    const picture = await basis.png(features, { scale, smooth });
    features.dispose();
    return Buffer.from(await picture.arrayBuffer());
  }

  async #fit(features) {
    const { PCA } = await library();
    return PCA.fit(features, { recipe: this.#options.recipe });
  }

  async #compute(i) {
    const path = this.#images[i];
    try {
      return await this.#model.features(path, pixelOptions(this.#options));
    } catch (error) {
      if (error.name !== 'ImageError') throw error;
      this.failed.push(failureText(path, error));
      return undefined;
    }
  }
}
