/** What every tab of the page does with the features of a frame. */
import type { Features, PatchPosition, PatchRegion } from '../../src/index.js';

/** Features of a frame that several parts of the page use. The last one to let go disposes of them. */
export class Frame {
  readonly features: Features;
  #holders = 1;

  /** The caller holds the frame. */
  constructor(features: Features) {
    this.features = features;
  }

  hold(): this {
    this.#holders += 1;
    return this;
  }

  release(): void {
    if (--this.#holders === 0) this.features.dispose();
  }
}

/** What a tab shows of a frame. */
export interface Drawing {
  /** True if the picture is darkened by the drawing, false if the drawing covers the picture. */
  readonly darkens: boolean;
  /** Draws on the GPU, without reading anything back. */
  drawTo(canvas: HTMLCanvasElement, smooth: boolean): Promise<void>;
  /** Draws one pixel per patch, for a still. */
  draw(canvas: HTMLCanvasElement): Promise<void>;
  dispose(): void;
}

export interface Mode {
  /** Computes what is shown of a frame; undefined if the visitor has to pick something first. */
  draw(frame: Frame): Promise<Drawing | undefined>;
  /** The visitor picked a patch of a frame. Returns the patches that were taken. */
  pick(frame: Frame, patch: PatchPosition, on: boolean): Promise<PatchRegion>;
  /** Forgets what was picked or fitted. */
  clear(): void;
  /** A sentence that says what is shown, or what to do. */
  caption(): string;
  /** The values of the first and the last colour, if there is a colour bar. */
  readonly range?: readonly [low: number, high: number] | undefined;
}

/** The region of a single patch. */
export const onlyPatch = ({ row, col }: PatchPosition): PatchRegion => ({ row, col, rows: 1, cols: 1 });

/** Labels of a tracker from this value on are bright. A small object has low labels at its edge. */
export const BRIGHT = 0.4;

const darkMap = { colormap: 'gray' } as const;

/** A drawing that darkens what has low values. `bright`: the value from which on nothing is darkened. */
export const darkening = (
  map: {
    drawTo(canvas: HTMLCanvasElement, options: object): Promise<void>;
    draw(canvas: HTMLCanvasElement, options: object): Promise<void>;
    dispose(): void;
  },
  range: readonly [number, number],
): Drawing => ({
  darkens: true,
  drawTo: (canvas, smooth) => map.drawTo(canvas, { ...darkMap, range, smooth }),
  draw: (canvas) => map.draw(canvas, { ...darkMap, range }),
  dispose: () => map.dispose(),
});
