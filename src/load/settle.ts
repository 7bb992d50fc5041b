/** Reads a checkpoint's header and config.json: the configuration, and where every tensor goes. Once a load. */
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

/** The part of a `LoadReport` that follows from header and config.json. */
export type TensorReport = Pick<LoadReport, 'dialect' | 'prefix' | 'setAside' | 'assumed'>;

/** A checkpoint before its weights are read. */
export interface Settled {
  readonly config: DINOv2Config;
  readonly tensors: TensorReport;
  readonly layout: WeightLayout;
  /** Wraps the checkpoint's stream to read a classifier's head from it. Undefined: it has no other tensors. */
  readonly watch?: ((stream: TensorStream) => Watched) | undefined;
}

/**
 * Settles the configuration of a checkpoint and the positions of its tensors. The result depends on header,
 * config.json and choice alone, so a load from the cache finds the same.
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

/** The same report without the tensors of the classifier that was loaded. */
export const withoutHead = (tensors: TensorReport, head: LinearHead | undefined): TensorReport =>
  head ? { ...tensors, setAside: tensors.setAside.filter((name) => !head.names.includes(name)) } : tensors;
