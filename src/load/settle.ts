/** What a checkpoint's header and its config.json say together, before a weight is read. */
import { placeTensors } from '../weights/names.js';
import { readQuantized } from '../weights/quantized.js';
import type { SafetensorsHeader } from '../safetensors.js';
import type { HeadWidths, LinearHead } from '../weights/head.js';
import type { DINOv2Config } from '../model/config.js';
import { parameters } from '../model/parameters.js';
import { configOfCheckpoint, type ConfigOverrides } from '../model/tensorConfig.js';
import type { LoadReport } from '../options.js';
import type { Described } from './configFile.js';

/** Of a `LoadReport`, what header and config.json tell. */
export type TensorReport = Pick<LoadReport, 'dialect' | 'prefix' | 'setAside' | 'assumed'>;

/**
 * The configuration of a checkpoint, and where its tensors go. Depends on header, config.json and prefix
 * alone, so that a load from the cache finds the same.
 * @throws ConfigError, CheckpointError for a checkpoint that cannot be loaded
 */
export function settle(
  source: SafetensorsHeader,
  described: Pick<Described, 'config' | 'hints'>,
  choice: ConfigOverrides = {},
): { readonly config: DINOv2Config; readonly tensors: TensorReport } {
  const { header } = readQuantized(source);
  const { config, assumed } = configOfCheckpoint(header, described, choice);
  const placed = placeTensors(header, parameters(config), choice.prefix);
  const { dialect, setAside } = placed;
  return { config, tensors: { dialect, prefix: placed.prefix, setAside, assumed } };
}

/** The widths that a classifier of this model may have. */
export const headWidths = ({ embedDim, depth }: DINOv2Config): HeadWidths => ({
  token: embedDim,
  pooled: depth < 4 ? [2 * embedDim] : [2 * embedDim, 5 * embedDim],
});

/** The same without the tensors of the classifier that was loaded. */
export const withoutHead = (tensors: TensorReport, head: LinearHead | undefined): TensorReport =>
  head ? { ...tensors, setAside: tensors.setAside.filter((name) => !head.names.includes(name)) } : tensors;
