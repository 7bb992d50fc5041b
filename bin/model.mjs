/** Checks what a command needs, before it loads a model; and loads the model. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { UsageError } from './arguments.mjs';
import { library } from './built.mjs';
import { checkFolder } from './checkpoints.mjs';
import { EXIT } from './table.mjs';
import { byteBar, message } from './terminal.mjs';

/**
 * Replaces folders and patterns by the images in them.
 * @param onError called for each folder within a folder that cannot be read. Default: prints a line, and the command
 *   ends with the exit code for missing images
 * @throws UsageError if a path does not exist or cannot be read, or a pattern is not valid
 */
export async function imagesIn(command, given, onError = reportFolder(command)) {
  const { imageFiles } = await library();
  const lists = given.map(async (path) => {
    const remote = isUrl(path);
    if (!remote && (await isFile(path)))
      await access(path, constants.R_OK).catch((error) => {
        throw new UsageError(`${command}: ${path} cannot be read (${error.code}).`);
      });
    return imageFiles(path, { onError }).catch((error) => {
      throw ['IMAGE_FETCH', 'OPTION_VALUE'].includes(error.code)
        ? new UsageError(`${command}: ${error.message}`)
        : error;
    });
  });
  return [...new Set((await Promise.all(lists)).flat())];
}

const reportFolder = (command) => (error) => {
  message(`${command}: ${error.message}`);
  process.exitCode = EXIT.incomplete;
};

export const isUrl = (path) => /^https?:\/\//i.test(path);

const kindOf = (path) => stat(path).catch(() => undefined);
const isFile = async (path) => (await kindOf(path))?.isFile() === true;

/** Extensions of the formats that `sharp` decodes. */
const FOR_SHARP = /\.(jpe?g|jpe|jfif|webp|avif|tiff?)$/i;

/** Throws if a package is missing that the images or the GPU need. */
export function checkPackages(command, images = []) {
  if (!isInstalled('webgpu'))
    throw new Error(
      `${command}: the package webgpu is missing, which gives Node access to the GPU. Install it beside this package: npm install dinov2-webgpu webgpu sharp`,
    );
  const needy = images.filter((path) => FOR_SHARP.test(path));
  if (needy.length > 0 && !isInstalled('sharp'))
    throw new Error(
      `${command}: the package sharp is missing, which decodes JPEG, WebP, AVIF and TIFF: ${needy.length} of ${images.length} images, such as ${needy[0]}. Install it beside this package: npm install sharp`,
    );
}

function isInstalled(name) {
  try {
    import.meta.resolve(name);
    return true;
  } catch {
    return false;
  }
}

/**
 * Returns the model as the library expects it: the absolute path of a folder, or an id or URL. As in Python, an
 * existing folder takes precedence over an id on the hub.
 * @throws UsageError if it can be neither
 */
export async function modelAt(command, model) {
  if ((await kindOf(model))?.isDirectory()) {
    await checkFolder(model);
    return resolve(model);
  }
  if (/^(https?|file):/i.test(model) || /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(model)) return model;
  throw new UsageError(
    `${command}: expected ${command === 'verify' ? 'each model' : '--model'} to be a folder, a URL, or an id on the Hugging Face hub (owner/name), found ${model}.`,
  );
}

/** Loads a model with a progress bar. */
export async function loadModel(model, dtype) {
  const { DINOv2 } = await library();
  return DINOv2.fromPretrained(model, { dtype, onProgress: byteBar('model ') });
}

/** The library's options for the options `resize`, `size` and `orientation` of the command line. */
export function pixelOptions({ resize, size, orientation }) {
  const sizeName = { fit: 'longestSide', square: 'size' }[resize] ?? 'cropSize';
  return { ...(resize && { resize }), ...(size && { [sizeName]: size }), orientation };
}

/** The message for an image that could not be used. */
export const failureText = (path, error) =>
  error.message.startsWith(path) ? error.message : `${path}: ${error.message}`;
