/**
 * The commands of the command line. This table defines how arguments are parsed and checked (arguments.mjs),
 * and the help texts.
 *
 * A command has a `summary` (its help text), a `brief` (its line in the list), `usage`, `arguments` (name and
 * help text), how many arguments it takes (`least`, `most`), and `load`, which imports it. `gpu`: it needs the
 * package webgpu.
 *
 * An option has a help text and one of: `flag`, true or false; `among`, the allowed values; `whole`, the
 * smallest and the largest whole number; `value` alone, any text. `value` is also the name of the value in the
 * help text. `default` is the value of an option that is not given. `short` is its letter; `required` options
 * must be given. A flag whose default is true is shown as --no-NAME, and its help text describes --no-NAME.
 */

/** Exit codes. */
export const EXIT = { done: 0, failed: 1, usage: 2, incomplete: 3 };

const force = { flag: true, help: 'overwrite existing files' };
const prefix = {
  value: 'P',
  help: "prefix of the model's tensor names, for files with several models (such as teacher.backbone)",
};
const model = {
  value: 'MODEL',
  default: 'facebook/dinov2-small',
  help: 'an id on the Hugging Face hub, a folder, or the URL of a folder',
};
const dtype = {
  value: 'TYPE',
  among: ['fp32', 'fp16', 'int8', 'auto'],
  default: 'fp32',
  help: 'number type of the weights on the GPU',
};
const verbose = { flag: true, help: "show the messages of the GPU's driver" };
const json = { flag: true, help: 'print JSON' };
const top = { value: 'N', whole: [1, 100_000], default: 10, help: 'number of results' };
const pooling = {
  value: 'HOW',
  among: ['cls', 'mean', 'cls+mean', 'gem'],
  default: 'cls',
  help: 'how the tokens of an image become one vector',
};
const batch = { value: 'N', whole: [1, 9999], default: 8, help: 'images per forward pass' };

/** Options that choose the pixels. */
const pixels = ({ resize, size, orientation }) => ({
  resize: {
    value: 'HOW',
    among: ['crop', 'fit', 'square'],
    default: resize,
    help: resize
      ? 'crop: the central square; fit: the whole image; square: the whole image, distorted'
      : "crop, fit (the whole image) or square; default: as the model's preprocessing says",
  },
  size: {
    value: 'PIXELS',
    whole: [1, 16_384],
    default: size,
    help: `side of the crop or square, or the longer side (fit)${size ? '' : "; default: the model's"}`,
  },
  orientation: {
    value: 'HOW',
    among: ['ignore', 'respect'],
    default: orientation,
    help: 'respect, to turn the image by its Exif orientation; or ignore, as Python does',
  },
});

const IMAGES = "files, folders, and patterns such as 'photos/**/*.jpg'";
const FORMATS = 'PNG, GIF and BMP; JPEG, WebP, AVIF and 8-bit TIFF need the package sharp';
const CHECKPOINT = 'a safetensors file, or a folder with model.safetensors or model.safetensors.index.json';

export const COMMANDS = {
  embed: {
    summary: 'Writes one vector per image.',
    brief: 'write vectors of images',
    gpu: true,
    usage: 'IMAGES… --out FILE',
    arguments: [
      ['IMAGES…', IMAGES],
      ['', FORMATS],
    ],
    least: 1,
    options: {
      out: {
        value: 'FILE',
        short: 'o',
        required: true,
        help: 'FILE.npy (image names go to FILE.npy.txt) or FILE.safetensors',
      },
      model,
      dtype,
      pooling,
      normalize: { flag: true, default: true, help: 'do not scale vectors to length 1' },
      batch,
      ...pixels({ orientation: 'ignore' }),
      force,
      verbose,
    },
    examples: ['photos/ --out photos.npy'],
    load: () => import('./commands/embed.mjs'),
  },

  pca: {
    summary: 'Draws the three main components of the patches as red, green and blue, as PNG files.',
    brief: 'draw what the model sees, as PNG files',
    gpu: true,
    usage: 'IMAGES… --out FILE.png|FOLDER',
    arguments: [
      ['IMAGES…', IMAGES],
      ['', FORMATS],
    ],
    least: 1,
    options: {
      out: {
        value: 'PATH',
        short: 'o',
        required: true,
        help: 'FILE.png for one image, or a folder, which receives NAME.png for each image',
      },
      model,
      dtype,
      recipe: {
        value: 'HOW',
        among: ['plain', 'paper', 'notebook', 'whitened'],
        default: 'plain',
        help: 'how patches become colours: plain, paper (the foreground only, as in the DINOv2 paper), notebook or whitened',
      },
      separate: {
        flag: true,
        help: 'fit each image alone, so that equal colours mean nothing across images',
      },
      scale: {
        value: 'PIXELS',
        whole: [1, 1024],
        help: "side of a patch in the picture; default: the model's patch size",
      },
      smooth: { flag: true, default: true, help: 'draw patches as rectangles, without interpolation' },
      ...pixels({ resize: 'fit', size: 518, orientation: 'respect' }),
      force,
      verbose,
    },
    examples: ['cat.jpg --out cat-pca.png', 'photos/ --out pictures --recipe paper'],
    load: () => import('./commands/pca.mjs'),
  },

  similar: {
    summary: 'Ranks images by their similarity (cosine) to one image.',
    brief: 'rank images by similarity to one image',
    gpu: true,
    usage: 'IMAGE OTHERS…',
    arguments: [
      ['IMAGE', 'the image to compare with'],
      ['OTHERS…', IMAGES],
      ['', FORMATS],
    ],
    least: 2,
    options: {
      top,
      json,
      model,
      dtype,
      pooling,
      batch,
      ...pixels({ resize: 'fit', size: 224, orientation: 'respect' }),
      verbose,
    },
    examples: ['cat.jpg photos/ --top 5'],
    load: () => import('./commands/similar.mjs'),
  },

  index: {
    summary:
      'Adds images to an index on disk, which `search` uses. Run it again to add only what is new or has changed.',
    brief: 'add images to an index on disk',
    gpu: true,
    usage: 'IMAGES… --index FOLDER',
    arguments: [
      ['IMAGES…', IMAGES],
      ['', FORMATS],
    ],
    least: 1,
    options: {
      index: { value: 'FOLDER', required: true, help: 'the index; it is created if it is missing' },
      prune: { flag: true, help: 'remove images whose files no longer exist from the index' },
      json,
      model,
      dtype,
      pooling,
      batch,
      ...pixels({ resize: 'fit', size: 224, orientation: 'respect' }),
      verbose,
    },
    examples: ['photos/ --index photos.index'],
    load: () => import('./commands/index.mjs'),
  },

  search: {
    summary: 'Finds the images of an index that are most similar to each given image.',
    brief: 'find images in an index',
    gpu: true,
    usage: 'IMAGES… --index FOLDER',
    arguments: [
      ['IMAGES…', `the images for which similar ones are wanted: ${IMAGES}`],
      ['', FORMATS],
    ],
    least: 1,
    options: {
      index: { value: 'FOLDER', required: true, help: 'an index that `index` has made' },
      top,
      json,
      dtype,
      verbose,
    },
    examples: ['cat.jpg --index photos.index --top 5'],
    load: () => import('./commands/search.mjs'),
  },

  convert: {
    summary: "Writes a checkpoint with narrower weights and Hugging Face's tensor names.",
    brief: 'write a checkpoint as fp16 or int8',
    usage: 'IN --dtype fp16|int8 --out FOLDER',
    arguments: [['IN', `${CHECKPOINT}; config.json is optional`]],
    least: 1,
    most: 1,
    options: {
      dtype: { value: 'TYPE', among: ['fp16', 'int8'], required: true, help: 'the type of the matrices' },
      out: {
        value: 'FOLDER',
        short: 'o',
        required: true,
        help: 'receives model.safetensors, config.json and, if IN has it, preprocessor_config.json',
      },
      prefix,
      force,
    },
    examples: ['dinov2-small --dtype int8 --out dinov2-small-int8'],
    load: () => import('./commands/convert.mjs'),
  },

  inspect: {
    summary: 'Prints the header, the configuration and the tensors of a checkpoint.',
    brief: 'print what a safetensors file holds',
    usage: 'IN',
    arguments: [['IN', CHECKPOINT]],
    least: 1,
    most: 1,
    options: { prefix },
    examples: ['model.safetensors'],
    load: () => import('./commands/inspect.mjs'),
  },

  verify: {
    summary: "Compares a model's numbers with those that transformers' own tests publish, or with yours.",
    brief: "compare a model's numbers with Python's",
    gpu: true,
    usage: '[MODELS…]',
    arguments: [
      [
        'MODELS…',
        'ids on the hub, or folders; default: facebook/dinov2-base, facebook/dinov2-with-registers-base and facebook/dinov2-small-imagenet1k-1-layer (780 MB)',
      ],
    ],
    least: 0,
    options: {
      expected: {
        value: 'FILE',
        help: 'your numbers for one model: JSON, as scripts/make-fixtures/make_verify.py of the repository writes',
      },
      image: { value: 'FILE', help: 'the image; default: that of the published numbers, from GitHub' },
      verbose,
    },
    examples: ['facebook/dinov2-base', 'my-model --image cat.png --expected numbers.json'],
    load: () => import('./commands/verify.mjs'),
  },

  synthetic: {
    summary:
      'Writes a checkpoint with weights by formula, for tests and measurements. Its features mean nothing.',
    brief: 'write a checkpoint with weights by formula',
    usage: 'SIZE FOLDER',
    arguments: [
      ['SIZE', 'small, base, large or giant'],
      ['FOLDER', 'receives model.safetensors and config.json'],
    ],
    least: 2,
    most: 2,
    options: {
      registers: { flag: true, help: 'the variant with 4 register tokens' },
      seed: { value: 'N', whole: [0, 999_999_999], default: 0, help: 'a whole number' },
      force,
    },
    examples: ['small dinov2-synthetic'],
    load: () => import('./commands/synthetic.mjs'),
  },
};
