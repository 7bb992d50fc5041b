/** Follows what the visitor clicked through the frames. */
import { PatchTracker } from '../../src/index.js';
import { byId } from '../shared/dom.js';
import { BRIGHT, darkening, type Mode } from './mode.js';

let tracker: PatchTracker | undefined;
let isNewSize = false;

export const tracking: Mode = {
  async draw({ features }) {
    if (tracker && (tracker.rows !== features.rows || tracker.cols !== features.cols)) {
      tracking.clear();
      isNewSize = true;
    }
    return tracker && darkening(await tracker.next(features), [0, BRIGHT]);
  },
  async pick({ features }, { row, col }) {
    const side = Number(byId('region', HTMLSelectElement).value);
    const [rows, cols] = [Math.min(side, features.rows), Math.min(side, features.cols)];
    const first = (middle: number, size: number, all: number): number =>
      Math.min(all - size, Math.max(0, middle - (size >> 1)));
    const mask = { row: first(row, rows, features.rows), col: first(col, cols, features.cols), rows, cols };
    const next = await PatchTracker.start(features, { mask });
    tracking.clear();
    tracker = next;
    return mask;
  },
  clear() {
    tracker?.dispose();
    tracker = undefined;
    isNewSize = false;
  },
  caption() {
    if (tracker) return 'What you clicked stays bright while it moves. Click to follow something else.';
    if (isNewSize) return 'The number of patches changed. Click what is to be followed again.';
    return 'Click something in the picture: the page follows it.';
  },
};
