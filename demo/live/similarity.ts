/** How similar every patch is to picked ones. A pick is a vector, so it stays valid in all later frames. */
import { PatchSimilarity } from '../../src/index.js';
import { byId } from '../shared/dom.js';
import { onlyPatch, type Mode } from './mode.js';

let vectors: Float32Array[] = [];
let query: Float32Array | undefined;
let range: readonly [number, number] | undefined;

/** True if a pick is added to the earlier ones, instead of replacing them. */
export const addsPicks = (): boolean => byId('several', HTMLInputElement).checked;

export const similarity: Mode = {
  async draw({ features }) {
    if (!query) return undefined;
    const scale = range!;
    const map = await features.similarity(query);
    return {
      darkens: false,
      drawTo: (canvas, smooth) => map.drawTo(canvas, { range: scale, smooth }),
      draw: (canvas) => map.draw(canvas, { range: scale }),
      dispose: () => map.dispose(),
    };
  },
  async pick({ features }, patch) {
    const read = await PatchSimilarity.read(features);
    if (!addsPicks()) vectors = [];
    vectors.push(read.vector(patch));
    query = vectors[0]!.map((_, i) => vectors.reduce((sum, each) => sum + each[i]!, 0) / vectors.length);
    const { values } = read.map(query);
    // The scale is that of the frame of the pick: a part that leaves the picture does not light up another.
    range = [Math.min(...values), Math.max(...values)];
    return onlyPatch(patch);
  },
  clear() {
    vectors = [];
    query = range = undefined;
  },
  caption: () =>
    vectors.length > 1
      ? `Cosine similarity to the mean of ${vectors.length} picked patches.`
      : 'Cosine similarity to the picked patch. Click to pick another.',
  get range() {
    return range;
  },
};
