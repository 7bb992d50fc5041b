/**
 * Decides from a checkpoint's header and config.json which configuration the model has, and which parameter
 * each tensor fills. Runs once per load.
 */
import { withChoices, type TensorChoice } from '../model/checkpointConfig.js';
import { parameters } from '../model/parameters.js';
import { loadPart } from '../platform/part.js';
import type { SafetensorsHeader } from '../safetensors.js';
import type { LinearHead } from '../weights/head.js';
import { placeHuggingFace } from '../weights/huggingFace.js';
import type { Described } from './described.js';
import type { Settled, TensorReport } from './settled.js';

/**
 * Decides the configuration of a checkpoint, and which parameter each tensor fills. The result depends only
 * on header, config.json and the caller's options, so a load from the cache gives the same result.
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

/**
 * Returns the report, with the loaded classifier's tensors removed from `setAside` (tensors that are not
 * used).
 */
export const withoutHead = (tensors: TensorReport, head: LinearHead | undefined): TensorReport =>
  head ? { ...tensors, setAside: tensors.setAside.filter((name) => !head.names.includes(name)) } : tensors;
