/** Patches as colours: the first three principal components, fitted to one frame and then kept. */
import { PCA } from '../../src/index.js';
import { onlyPatch, type Mode } from './mode.js';

let basis: PCA | undefined;

export const pca: Mode = {
  async draw({ features }) {
    const by = (basis ??= await PCA.fit(features));
    return {
      darkens: false,
      drawTo: (canvas, smooth) => by.drawTo(features, canvas, { smooth }),
      draw: (canvas) => by.draw(features, canvas),
      dispose: () => undefined,
    };
  },
  pick: async (_, patch) => onlyPatch(patch),
  /** The next frame is the one to which the components are fitted. */
  clear() {
    basis = undefined;
  },
  caption: () =>
    'Three principal components as red, green and blue, fitted to one frame and then kept: a part that moves keeps its colour.',
};
