/** Segments from clicks: a small classifier of patches, fitted to clicks in some frames, applied to all. */
import { PatchSegmenter, type PatchPosition } from '../../src/index.js';
import { darkening, onlyPatch, type Frame, type Mode } from './mode.js';

interface Click extends PatchPosition {
  readonly frame: Frame;
  readonly on: boolean;
}

/** More clicks would keep too many frames in the memory of the GPU. */
export const MOST_CLICKS = 32;

let clicks: Click[] = [];
let segmenter: PatchSegmenter | undefined;

export const segments: Mode = {
  async draw({ features }) {
    return segmenter && darkening(await segmenter.map(features), [0, 1]);
  },
  async pick(frame, { row, col }, on) {
    clicks.push({ frame: frame.hold(), row, col, on });
    if (clicks.length > MOST_CLICKS) clicks.shift()!.frame.release();
    const of = (side: boolean): (PatchPosition & { image: number })[] =>
      clicks.flatMap((click, image) =>
        click.on === side ? [{ row: click.row, col: click.col, image }] : [],
      );
    const [positive, negative] = [of(true), of(false)];
    segmenter =
      positive.length > 0 && negative.length > 0
        ? await PatchSegmenter.fit(
            clicks.map((click) => click.frame.features),
            { positive, negative },
          )
        : undefined;
    return onlyPatch({ row, col });
  },
  clear() {
    for (const { frame } of clicks) frame.release();
    clicks = [];
    segmenter = undefined;
  },
  caption() {
    if (segmenter) return 'The object stays bright. More clicks, in any frame, make it better.';
    if (clicks.length === 0) return 'Click a part of an object in the picture.';
    return clicks[0]!.on ? 'Now click a part that does not belong to it.' : 'Now click a part of the object.';
  },
};
