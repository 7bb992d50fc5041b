/** The small files that belong to a converted checkpoint: config.json and preprocessor_config.json. */
import { describedBy } from '../load/anyConfig.js';
import { anyPreprocessing } from '../load/anyPreprocessor.js';
import { parseJson } from '../load/configFile.js';
import { PREPROCESSOR } from '../load/preprocessorFile.js';
import type { DINOv2Config } from '../model/config.js';
import { configJson } from '../model/configJson.js';
import { labelsOfConfig } from '../tasks/classLabels.js';

/**
 * What Hugging Face's config.json can say of a configuration: there, the width of a SwiGLU is a multiple of 8.
 * The file's metadata say the width itself.
 */
export function huggingFaceConfig(config: DINOv2Config): DINOv2Config {
  const { ffn, hiddenFeatures } = config;
  if (ffn === 'mlp' || hiddenFeatures % 8 === 0) return config;
  return { ...config, hiddenFeatures: Math.ceil(hiddenFeatures / 8) * 8 };
}

/**
 * The text of the config.json that describes a converted checkpoint: the original's, where that is Hugging
 * Face's of this model; else one of that form, with what else the original says of images and of what a
 * classifier was trained for.
 * @param original the text of the original's config.json
 * @param labels of the classifier
 */
export function convertedConfig(
  config: DINOv2Config,
  original: string | undefined,
  labels: readonly string[] | undefined,
): string {
  const json = original === undefined ? {} : (JSON.parse(original) as Record<string, unknown>);
  const isOwn = json['model_type'] === 'dinov2' || json['model_type'] === 'dinov2_with_registers';
  if (isOwn && (!labels || labelsOfConfig(describedBy(json).labels, labels.length))) return original!;
  const timms = json['pretrained_cfg'] ?? (json['model_type'] === undefined ? flatOf(json) : undefined);
  const made = {
    ...(isOwn ? json : configJson(huggingFaceConfig(config))),
    ...(json['problem_type'] === undefined ? {} : { problem_type: json['problem_type'] }),
    ...(timms === undefined ? {} : { pretrained_cfg: timms }),
    ...(labels && {
      id2label: Object.fromEntries(labels.map((label, index) => [index, label])),
      label2id: Object.fromEntries(labels.map((label, index) => [label, index])),
    }),
  };
  return `${JSON.stringify(made, undefined, 2)}\n`;
}

/** The older form of timm's config.json has the fields of `pretrained_cfg` in the file itself. */
function flatOf(json: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> | undefined {
  if (json['architecture'] === undefined) return undefined;
  const names = ['input_size', 'mean', 'std', 'interpolation', 'crop_pct', 'crop_mode'];
  return Object.fromEntries(names.filter((name) => name in json).map((name) => [name, json[name]]));
}

/**
 * The text of preprocessor_config.json for a converted checkpoint. Its config.json names another model than
 * that of a larger one (Depth Anything), which may be all that says which class the file belongs to.
 * @param text the original's; undefined: there is none
 * @param config the text of the original's config.json
 * @throws ConfigError if it cannot be used
 */
export function convertedPreprocessor(
  text: string | undefined,
  config: string | undefined,
): string | undefined {
  const json: unknown = config === undefined ? undefined : JSON.parse(config);
  const meaning = (other: unknown): string =>
    JSON.stringify(
      anyPreprocessing(text === undefined ? undefined : { json: parseJson(text, PREPROCESSOR) }, other),
    );
  const means = (other: unknown): string => {
    try {
      return meaning(other);
    } catch {
      return ''; // the class that it would have is not known, or is none of these sizes
    }
  };
  const own = meaning(json); // one that cannot be used does not load
  if (text === undefined || means({}) === own) return text;
  const named = { ...(JSON.parse(text) as object), image_processor_type: 'DPTImageProcessor' };
  return `${JSON.stringify(named, undefined, 2)}\n`;
}
