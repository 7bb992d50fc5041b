/** What the decoders return: pixels, and the canvas of an animation. */

/** Decoded pixels in RGBA, rows from the top without gaps. Alpha is unused. */
export interface Pixels {
  readonly data: Uint8Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

/** A black image, and the position of a smaller picture on it. Sizes and offsets are in pixels. */
export interface Canvas {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}
