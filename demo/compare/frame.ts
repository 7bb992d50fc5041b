/** The frame of one picture: the photograph, a map over it with one pixel per patch, and an outlined patch. */
import type { PatchPosition, PatchRegion } from '../../src/index.js';
import { byId } from '../shared/dom.js';
import type { Picture } from '../shared/picture.js';

export type Side = 'a' | 'b';
export const sides = ['a', 'b'] as const;
export const otherSide = (side: Side): Side => (side === 'a' ? 'b' : 'a');

export interface Grid {
  readonly rows: number;
  readonly cols: number;
}

/** Approximate size of the longer side of the drawn photograph in canvas pixels. */
const DRAWN_PX = 1036;

class Frame {
  readonly side: Side;
  readonly element: HTMLElement;
  readonly map: HTMLCanvasElement;
  grid: Grid = { rows: 1, cols: 1 };
  readonly #photo: HTMLCanvasElement;
  readonly #status: HTMLElement;
  readonly #outline: HTMLElement;
  readonly #box: HTMLElement;
  #marked: PatchPosition | undefined;
  #region: PatchRegion | undefined;

  constructor(side: Side) {
    this.side = side;
    this.element = byId(`frame-${side}`, HTMLElement);
    this.map = byId(`map-${side}`, HTMLCanvasElement);
    this.#photo = byId(`photo-${side}`, HTMLCanvasElement);
    this.#status = this.element.querySelector<HTMLElement>('.frame-status')!;
    this.#outline = this.element.querySelector<HTMLElement>('.patch')!;
    this.#box = this.element.querySelector<HTMLElement>('.box')!;
    new ResizeObserver(() => this.#place()).observe(this.element);
  }

  /** True while the frame shows the features of its picture, so that the visitor can point at patches. */
  get ready(): boolean {
    return this.element.getAttribute('aria-busy') === 'false' && this.#status.textContent === '';
  }

  /** Draws the whole photograph with the proportions of its patch grid. */
  drawPhoto({ bitmap, name }: Picture, grid: Grid): void {
    this.grid = grid;
    const scale = DRAWN_PX / Math.max(grid.rows, grid.cols);
    const photo = this.#photo;
    photo.width = Math.round(grid.cols * scale);
    photo.height = Math.round(grid.rows * scale);
    const context = photo.getContext('2d')!;
    context.imageSmoothingQuality = 'high';
    context.drawImage(bitmap, 0, 0, photo.width, photo.height);
    photo.setAttribute('aria-label', `Photograph: ${name}`);
    this.map.hidden = true;
    this.mark(undefined);
    this.setRegion(undefined);
  }

  /** Says in the frame what is being computed. */
  setBusy(text: string): void {
    this.#say(text, true);
  }
  /** Says in the frame why it shows only the photograph. */
  setEmpty(text: string): void {
    this.#say(text, false);
  }
  /** Removes the text in the frame. */
  setReady(): void {
    this.#say('', false);
  }

  #say(text: string, busy: boolean): void {
    this.element.setAttribute('aria-busy', String(busy));
    this.element.classList.toggle('waiting', text !== '');
    this.#status.textContent = text;
    if (text === '') return;
    this.map.hidden = true;
    this.mark(undefined);
  }

  /** Outlines a patch. `undefined` removes the outline. */
  mark(patch: PatchPosition | undefined): void {
    this.#marked = patch;
    this.#place();
  }
  /** Outlines a rectangle of patches. `undefined` removes the outline. */
  setRegion(region: PatchRegion | undefined): void {
    this.#region = region;
    this.#place();
  }

  #place(): void {
    const { patchPx, marginX, marginY } = this.#layout();
    const put = (element: HTMLElement, area: PatchRegion | undefined): void => {
      element.hidden = !area;
      if (!area) return;
      element.style.left = `${marginX + area.col * patchPx}px`;
      element.style.top = `${marginY + area.row * patchPx}px`;
      element.style.width = `${area.cols * patchPx}px`;
      element.style.height = `${area.rows * patchPx}px`;
    };
    put(this.#outline, this.#marked && { ...this.#marked, rows: 1, cols: 1 });
    put(this.#box, this.#region);
  }

  /** Returns the centre of a patch in the window, in CSS pixels. */
  centreOf({ row, col }: PatchPosition): { x: number; y: number } {
    const { left, top } = this.element.getBoundingClientRect();
    const { patchPx, marginX, marginY } = this.#layout();
    return { x: left + marginX + (col + 0.5) * patchPx, y: top + marginY + (row + 0.5) * patchPx };
  }

  /** Returns the patch at a point of the window; undefined if the point is outside of the picture. */
  patchAt(clientX: number, clientY: number): PatchPosition | undefined {
    const { row, col } = this.#positionOf(clientX, clientY);
    const { rows, cols } = this.grid;
    return row >= 0 && col >= 0 && row < rows && col < cols ? { row, col } : undefined;
  }

  /** Returns the patch of the picture that is nearest to a point of the window. */
  patchNear(clientX: number, clientY: number): PatchPosition {
    return within(this.grid, this.#positionOf(clientX, clientY));
  }

  #positionOf(clientX: number, clientY: number): PatchPosition {
    const { left, top } = this.element.getBoundingClientRect();
    const { patchPx, marginX, marginY } = this.#layout();
    return {
      row: Math.floor((clientY - top - marginY) / patchPx),
      col: Math.floor((clientX - left - marginX) / patchPx),
    };
  }

  /**
   * Computes where the grid of patches is in the frame, in CSS pixels. The picture fills the frame along one
   * side, and is centred along the other.
   */
  #layout(): { patchPx: number; marginX: number; marginY: number } {
    const { rows, cols } = this.grid;
    const { clientWidth, clientHeight } = this.element;
    const patchPx = Math.min(clientWidth / cols, clientHeight / rows);
    return {
      patchPx,
      marginX: (clientWidth - cols * patchPx) / 2,
      marginY: (clientHeight - rows * patchPx) / 2,
    };
  }
}

export const frames: Readonly<Record<Side, Frame>> = { a: new Frame('a'), b: new Frame('b') };

/** Returns the nearest position inside of a grid of patches. */
export const within = ({ rows, cols }: Grid, { row, col }: PatchPosition): PatchPosition => ({
  row: Math.min(rows - 1, Math.max(0, row)),
  col: Math.min(cols - 1, Math.max(0, col)),
});
