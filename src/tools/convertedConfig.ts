/** Makes the texts of config.json and preprocessor_config.json for a converted checkpoint. */
import { describedBy } from '../load/anyConfig.js';
import { anyPreprocessing } from '../load/anyPreprocessor.js';
import { parseJson } from '../load/configFile.js';
import { PREPROCESSOR } from '../load/preprocessorFile.js';
import type { DINOv2Config } from '../model/config.js';
import { configJson } from '../model/configJson.js';
import { labelsOfConfig } from '../tasks/classLabels.js';

/**
 * Returns the nearest configuration that can be expressed in Hugging Face's config.json: the SwiGLU width is
 * rounded to a multiple of 8. The metadata of the safetensors file record the exact width.
 */
export function huggingFaceConfig(config: DINOv2Config): DINOv2Config {
  const { ffn, hiddenFeatures } = config;
  if (ffn === 'mlp' || hiddenFeatures % 8 === 0) return config;
  return { ...config, hiddenFeatures: Math.ceil(hiddenFeatures / 8) * 8 };
}

/**
 * Returns the text of the converted checkpoint's config.json. If the original is Hugging Face's own file for
 * this model, it is kept. Otherwise a file in Hugging Face's form is made, with the image settings and the
 * problem type of the original.
 * @param original the text of the original config.json
 * @param labels the classifier's class names
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

/**
 * Returns the fields of `pretrained_cfg` from an older config.json of timm, which has them at the top level.
 * Returns undefined for other files.
 */
function flatOf(json: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> | undefined {
  if (json['architecture'] === undefined) return undefined;
  const names = ['input_size', 'mean', 'std', 'interpolation', 'crop_pct', 'crop_mode'];
  return Object.fromEntries(names.filter((name) => name in json).map((name) => [name, json[name]]));
}

/**
 * Returns the text of the converted checkpoint's preprocessor_config.json. Adds the class of the image
 * processor if only the original config.json implies the class, as with Depth Anything. The conversion
 * replaces config.json, so the class would otherwise be unknown.
 * @param text the text of the original file; undefined if there is none
 * @param config the text of the original config.json
 * @throws ConfigError if the file cannot be used
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
      return ''; // the class is unknown, or does not support these sizes
    }
  };
  const own = meaning(json); // throws if the file cannot be used
  if (text === undefined || means({}) === own) return text;
  const named = { ...(JSON.parse(text) as object), image_processor_type: 'DPTImageProcessor' };
  return `${JSON.stringify(named, undefined, 2)}\n`;
}
