/** Draws how similar every patch is to one patch. Computed in memory, without a round trip to the GPU. */
import type { PatchPosition } from '../../src/index.js';
import { map, type Drawn } from './frame.js';
import { patchName, type Result } from './result.js';

export function drawSimilarity({ similarity }: Result, patch: PatchPosition): Drawn {
  const cosines = similarity.map(patch);
  cosines.draw(map);
  return {
    caption: `Cosine similarity to the patch in ${patchName(patch)}.`,
    mark: patch,
    range: [Math.min(...cosines.values), Math.max(...cosines.values)],
  };
}
