/** The help texts of the command line. */

/** A mistake in the arguments: the command's usage is printed with the message. */
export class UsageError extends Error {}

const COMMANDS = {
  convert: `Usage: npx dinov2-webgpu convert IN --dtype fp16|int8 --out FOLDER [--prefix P] [--force]

Writes a checkpoint with narrower weights and Hugging Face's tensor names.

  IN               a safetensors file, or a folder that has one, with or without a config.json
  --dtype TYPE     fp16 or int8: the type of the matrices
  --out FOLDER     receives model.safetensors and config.json
  --prefix P       prefix of the model's tensor names, for files with several models (such as teacher.backbone)
  --force          overwrite existing files

Example: npx dinov2-webgpu convert dinov2-small --dtype int8 --out dinov2-small-int8`,

  inspect: `Usage: npx dinov2-webgpu inspect IN [--prefix P]

Prints the header, the configuration and the tensors of a checkpoint.

  IN               a safetensors file, or a folder that has one
  --prefix P       prefix of the model's tensor names, for files with several models

Example: npx dinov2-webgpu inspect model.safetensors`,

  synthetic: `Usage: npx dinov2-webgpu synthetic SIZE FOLDER [--registers] [--seed N] [--force]

Writes a checkpoint whose weights are computed by formula, for tests and measurements. Its features mean nothing.

  SIZE             small, base, large or giant
  FOLDER           receives model.safetensors and config.json
  --registers      the variant with 4 register tokens
  --seed N         a whole number; default 0
  --force          overwrite existing files

Example: npx dinov2-webgpu synthetic small dinov2-synthetic`,

  embed: `Usage: npx dinov2-webgpu embed IMAGES… --out FILE [options]

Writes one vector per image. Needs the package webgpu.

  IMAGES           PNG, GIF and BMP; JPEG, WebP and 8-bit TIFF need the package sharp.
                   Exif orientation is ignored, as Pillow ignores it.
  --out FILE       FILE.npy (image names go to FILE.npy.txt) or FILE.safetensors
  --model MODEL    an id on the Hugging Face hub, or a folder; default facebook/dinov2-small
  --dtype TYPE     fp32 (default), fp16, int8 or auto
  --pooling HOW    cls (default), mean, cls+mean or gem
  --no-normalize   do not scale vectors to length 1
  --batch N        images per forward; default 8
  --force          overwrite existing files

Example: npx dinov2-webgpu embed photos/*.jpg --out photos.npy`,
};

const OVERVIEW = `Usage: npx dinov2-webgpu COMMAND …

  convert      write a checkpoint as fp16 or int8
  inspect      print what a safetensors file holds
  synthetic    write a checkpoint with weights by formula
  embed        write vectors of images

npx dinov2-webgpu COMMAND --help   explains a command
npx dinov2-webgpu --version        prints the version`;

/** Returns the help of a command, or the overview if there is no such command. */
export const usageOf = (command) => (Object.hasOwn(COMMANDS, command ?? '') ? COMMANDS[command] : OVERVIEW);
