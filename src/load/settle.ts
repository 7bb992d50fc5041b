/**
 * Derives a model's configuration and the placement of its tensors from a checkpoint's header and
 * config.json. Runs once a load.
 */
import type { DINOv2Config } from '../model/config.js';
import { withChoices, type TensorChoice } from '../model/checkpointConfig.js';
import { parameters } from '../model/parameters.js';
import type { LoadReport } from '../options.js';
import { loadPart } from '../platform/part.js';
import type { SafetensorsHeader } from '../safetensors.js';
import type { TensorStream } from '../safetensors/tensorStream.js';
import type { LinearHead, Watched } from '../weights/head.js';
import { placeHuggingFace } from '../weights/huggingFace.js';
import type { WeightLayout } from '../weights/weights.js';
import type { Described } from './configFile.js';

/** The part of a `LoadReport` that follows from the header and config.json. */
export type TensorReport = Pick<LoadReport, 'dialect' | 'prefix' | 'setAside' | 'assumed'>;

/** A checkpoint whose configuration and tensor placement are decided, before its weights are read. */
export interface Settled {
  readonly config: DINOv2Config;
  readonly tensors: TensorReport;
  readonly layout: WeightLayout;
  /**
   * Wraps the checkpoint's stream to read a classifier head from it. Undefined if all tensors belong to the
   * model.
   */
  readonly watch?: ((stream: TensorStream) => Watched) | undefined;
}

/**
 * Decides the configuration of a checkpoint and the placement of its tensors. The result depends only on
 * header, config.json and the caller's options, so a load from the cache gives the same result.
 * @throws ConfigError, CheckpointError for a checkpoint that cannot be loaded
 */
export async function settle(
  header: SafetensorsHeader,
  described: Pick<Described, 'config' | 'hints'>,
  choice: TensorChoice = {},
): Promise<Settled> {
  if (described.config && !choice.prefix) {
    const { config, assumed } = withChoices({ config: described.config, assumed: [] }, header, choice);
    const wanted = parameters(config);
    const placed = placeHuggingFace(header, wanted);
    if (placed) {
      const { placements, dialect, prefix, setAside } = placed;
      return {
        config,
        tensors: { dialect, prefix, setAside, assumed },
        layout: { parameters: wanted, placements },
      };
    }
  }
  const { settleAny } = await loadPart(import('./anyCheckpoint.js'));
  return settleAny(header, described, choice);
}

/** Returns the report without the tensors of the loaded classifier in `setAside`. */
export const withoutHead = (tensors: TensorReport, head: LinearHead | undefined): TensorReport =>
  head ? { ...tensors, setAside: tensors.setAside.filter((name) => !head.names.includes(name)) } : tensors;
