/**
 * Parses preprocessor_config.json and timm's `pretrained_cfg`. Follows the Pillow backend of transformers
 * 5.18, and `create_transform(**resolve_data_config(pretrained_cfg=…))` of timm 1.0.29.
 */
import { ConfigError } from '../errors.js';
import { show } from '../platform/json.js';
import { RESAMPLES, type Resample } from './coefficients.js';
import { MAX_SIDE, roundHalfEven } from './geometry.js';
import type { Preprocessing, ResizeRule } from './preprocessing.js';
import { Fields, isSide, type Json, type Triple } from './preprocessorFields.js';

const IMAGENET_MEAN: Triple = [0.485, 0.456, 0.406];
const IMAGENET_STD: Triple = [0.229, 0.224, 0.225];
const CLIP = {
  image_mean: [0.48145466, 0.4578275, 0.40821073],
  image_std: [0.26862954, 0.26130258, 0.27577711],
  resample: 3,
  size: { shortest_edge: 224 },
  crop_size: { height: 224, width: 224 },
  default_to_square: false,
  do_center_crop: true,
};
const HALF = { image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] };

/**
 * The values that each image processor class gives to absent fields. `BASE` holds the defaults that all
 * classes share.
 */
const PROCESSORS: Readonly<Record<string, Json>> = {
  BitImageProcessor: CLIP,
  CLIPImageProcessor: CLIP,
  ViTImageProcessor: { ...HALF, resample: 2, size: { height: 224, width: 224 } },
  DPTImageProcessor: {
    ...HALF,
    resample: 3,
    size: { height: 384, width: 384 },
    ensure_multiple_of: 1,
    keep_aspect_ratio: false,
  },
};
const BASE = {
  do_resize: true,
  do_rescale: true,
  do_normalize: true,
  rescale_factor: 1 / 255,
  default_to_square: true,
};

/** `model_type` of config.json → the class that AutoImageProcessor takes if the file names none. */
const CLASS_OF_MODEL: Readonly<Record<string, string>> = {
  dinov2: 'BitImageProcessor',
  dinov2_with_registers: 'BitImageProcessor',
  depth_anything: 'DPTImageProcessor',
  dpt: 'DPTImageProcessor',
};

/**
 * Converts a parsed preprocessor_config.json. An absent field takes the default of the class. As in Python, a
 * null field switches its step off, or is an error if the step needs the field. `do_convert_rgb` is ignored:
 * images are always decoded to RGB, and Python without the conversion gives the same pixels or fails. As in
 * Python, fields that the class does not read are ignored; but if the file names no class, fields of other
 * libraries (`mean`, `crop_pct`, …) are an error.
 *
 * @param modelType `model_type` of config.json, which selects the class if the file does not
 * @throws ConfigError CONFIG_JSON, if `json` is not an object; CONFIG_UNSUPPORTED, if the class or a step is
 *   not supported; CONFIG_FIELD, if a field has the wrong type or is out of range
 */
export function parsePreprocessorConfig(json: unknown, modelType = 'dinov2'): Preprocessing {
  const file = objectOf('preprocessor_config.json', json);
  const named = namedProcessor(file);
  const type = processorOf(named, modelType);
  const fields = new Fields('preprocessor_config.json', {
    ...BASE,
    ...PROCESSORS[type],
    ...Object.fromEntries(Object.entries(file).filter(([, value]) => value !== undefined)),
  });
  if (named === undefined) fields.refuseForeign();
  const isDpt = type === 'DPTImageProcessor';
  if (fields.flag('do_pad') && fields.has(isDpt ? 'size_divisor' : 'pad_size'))
    fields.unsupported('do_pad', 'false (images are not padded to a size)', true);
  if (fields.has('input_data_format') && fields.value('input_data_format') !== 'channels_last')
    fields.unsupported('input_data_format', 'null or "channels_last"', fields.value('input_data_format'));

  const square = fields.has('use_square_size') && type === 'CLIPImageProcessor';
  const size =
    square && fields.flag('use_square_size')
      ? { height: 224, width: 224 } // as in transformers, where KOSMOS-2 relies on this fixed size
      : fields.size('size', fields.flag('default_to_square'));
  const cropSize = fields.size('crop_size', true);
  const crops = fields.flag('do_center_crop') && !isDpt;
  const { height, width } = cropSize ?? {};
  if (crops && (height === undefined || width === undefined))
    fields.refuse('crop_size', 'a number, or an object of height and width, because do_center_crop is true');
  return {
    source: 'preprocessor_config.json',
    resize: fields.flag('do_resize') ? resizeRule(fields, size, isDpt) : undefined,
    crop: crops ? { height: height!, width: width! } : undefined,
    resample: fields.flag('do_resize') || fields.has('resample') ? fields.resample() : 'bicubic',
    normalization: fields.usable({
      rescaleFactor: fields.flag('do_rescale')
        ? fields.number('rescale_factor', 'a number above 0', (value) => value > 0)
        : 1,
      mean: fields.flag('do_normalize') ? fields.triple('image_mean') : [0, 0, 0],
      std: fields.flag('do_normalize') ? fields.triple('image_std') : [1, 1, 1],
    }),
    convention: 'transformers',
  };
}

/** Returns the class that a file names. Undefined if it names none. */
function namedProcessor(file: Json): unknown {
  const { image_processor_type: type, feature_extractor_type: legacy } = file;
  const custom = (file['auto_map'] ?? {}) as Json;
  return (
    type ??
    custom['AutoImageProcessor'] ??
    (typeof legacy === 'string' ? legacy.replace('FeatureExtractor', 'ImageProcessor') : legacy) ??
    custom['AutoFeatureExtractor'] ??
    undefined
  );
}

/** Returns the name of the class that AutoImageProcessor selects, without the suffix of its backend. */
function processorOf(named: unknown, modelType: string): string {
  const found = named ?? (Object.hasOwn(CLASS_OF_MODEL, modelType) ? CLASS_OF_MODEL[modelType] : undefined);
  const name = typeof found === 'string' ? found.replace(/(Fast|Pil)$/, '') : '';
  if (Object.hasOwn(PROCESSORS, name)) return name;
  throw new ConfigError(
    'CONFIG_UNSUPPORTED',
    `preprocessor_config.json: image_processor_type: expected one of ${Object.keys(PROCESSORS).join(', ')}, found ${found === undefined ? `none, for a model of the type ${show(modelType)}` : show(found)}. ` +
      "Pass the checkpoint's values in the option preprocessor: { image_processor_type: 'BitImageProcessor', size: …, crop_size: …, resample: …, image_mean: …, image_std: … }, " +
      'or pass preprocessor: null to use the values of facebook/dinov2.',
  );
}

function resizeRule(
  fields: Fields,
  size: Readonly<Record<string, number>> | undefined,
  isDpt: boolean,
): ResizeRule {
  const { height, width, shortest_edge: shortestEdge, longest_edge: longestEdge } = size ?? {};
  const { max_height: maxHeight, max_width: maxWidth } = size ?? {};
  if (height !== undefined && width !== undefined) {
    if (!isDpt) return { height, width };
    const multipleOf = fields.number('ensure_multiple_of', 'a whole number from 1', isSide);
    const keepAspectRatio = fields.flag('keep_aspect_ratio');
    if (multipleOf === 1 && !keepAspectRatio) return { height, width };
    return { height, width, multipleOf, keepAspectRatio };
  }
  if (!isDpt && shortestEdge !== undefined)
    return longestEdge === undefined ? { shortestEdge } : { shortestEdge, longestEdge };
  if (!isDpt && maxHeight !== undefined && maxWidth !== undefined) return { maxHeight, maxWidth };
  return fields.refuse(
    'size',
    isDpt
      ? 'height and width, because do_resize is true'
      : 'height and width, shortest_edge, or max_height and max_width, because do_resize is true',
  );
}

/**
 * Returns true for the name of an interpolation that timm uses in evaluation. timm's `random` is for training
 * only.
 */
const isResample = (value: unknown): value is Resample => RESAMPLES.includes(value as Resample);

/**
 * Converts a parsed config.json of timm. Reads the object `pretrained_cfg`, or the whole file in timm's older
 * form. Fields for training and for a larger test size (`test_input_size`, `test_crop_pct`) are ignored, as
 * timm does by default.
 *
 * @returns undefined, if config.json is not in one of timm's forms
 * @throws ConfigError CONFIG_FIELD, if a field has the wrong type or is out of range; CONFIG_UNSUPPORTED, if
 *   the settings are not supported
 */
export function timmPreprocessing(configJson: unknown): Preprocessing | undefined {
  if (typeof configJson !== 'object' || configJson === null) return undefined;
  const file = configJson as Json;
  const isFlat = typeof file['architecture'] === 'string' && file['model_type'] === undefined;
  const found = file['pretrained_cfg'] ?? (isFlat ? file : undefined);
  if (found === undefined) return undefined;
  // timm treats a null field as absent.
  const entries = Object.entries(objectOf('config.json: pretrained_cfg', found));
  const fields = new Fields('config.json: pretrained_cfg', {
    input_size: [3, 224, 224],
    mean: IMAGENET_MEAN,
    std: IMAGENET_STD,
    interpolation: 'bicubic',
    crop_mode: 'center',
    ...Object.fromEntries(entries.filter(([, value]) => value !== null && value !== undefined)),
  });
  const inputSize = fields.value('input_size');
  if (!Array.isArray(inputSize) || inputSize.length !== 3 || inputSize[0] !== 3 || !inputSize.every(isSide))
    return fields.refuse('input_size', `[3, height, width] with sides from 1 to ${MAX_SIDE}`);
  const [, height, width] = inputSize as [number, number, number];
  const interpolation = fields.value('interpolation');
  if (!isResample(interpolation)) return fields.refuse('interpolation', oneOf(RESAMPLES));
  const normalization = fields.usable({
    rescaleFactor: 1 / 255,
    mean: fields.triple('mean', false),
    std: fields.triple('std', false),
  });
  const cropPct =
    (fields.value('crop_pct') ?? 0) === 0
      ? 0.875
      : fields.number('crop_pct', 'a number above 0', (value) => value > 0);
  const [scaledHeight, scaledWidth] = [Math.floor(height / cropPct), Math.floor(width / cropPct)];
  if (!isSide(scaledHeight) || !isSide(scaledWidth))
    return fields.refuse('crop_pct', `a fraction that resizes to sides from 1 to ${MAX_SIDE}`);
  const common = { source: 'config.json', normalization, convention: 'timm' } as const;
  const crop = { height, width };
  switch (fields.value('crop_mode')) {
    case 'center':
      // For a non-square crop, timm resizes with its own class. It does not pass the checkpoint's filter to
      // this class, so the class uses its default filter, which is bilinear.
      return scaledHeight === scaledWidth
        ? { ...common, resize: { shortestEdge: scaledHeight }, crop, resample: interpolation }
        : {
            ...common,
            resize: { minHeight: scaledHeight, minWidth: scaledWidth },
            crop,
            resample: 'bilinear',
          };
    case 'squash':
      return {
        ...common,
        resize: { height: scaledHeight, width: scaledWidth },
        crop,
        resample: interpolation,
      };
    case 'border':
      return {
        ...common,
        resize: { maxHeight: scaledHeight, maxWidth: scaledWidth },
        crop: { ...crop, fill: byteTriple(normalization.mean) },
        resample: interpolation,
      };
    default:
      return fields.refuse('crop_mode', oneOf(['center', 'squash', 'border']));
  }
}

/**
 * Converts a colour from the range 0 … 1 to bytes by Python's `round(255 * v)`, which rounds halves to even.
 * Pillow clamps colours to 0 … 255.
 */
function byteTriple([red, green, blue]: Triple): Triple {
  const byte = (value: number): number => Math.min(255, Math.max(0, roundHalfEven(255 * value)));
  return [byte(red), byte(green), byte(blue)];
}

function objectOf(where: string, json: unknown): Json {
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Json;
  throw new ConfigError('CONFIG_JSON', `${where}: expected an object, found ${show(json)}.`);
}

const oneOf = (values: readonly string[]): string => values.map((value) => `"${value}"`).join(', ');
