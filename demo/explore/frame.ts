/**
 * The two frames: the photograph as the model sees it, and the same with a map over it, one canvas pixel per
 * patch. Reports at which patch the visitor points.
 */
import type { PatchPosition, Preprocessing } from '../../src/index.js';
import { cropOf } from '../shared/crop.js';
import { byId, setText } from '../shared/dom.js';
import { shortName } from '../shared/format.js';
import type { InputSize, Picture } from '../shared/picture.js';

const PATCH_PX = 14;
/** Maximum size of the longer side of the drawn photograph in canvas pixels. */
const MOST_PX = 1036;

const photo = byId('photo', HTMLCanvasElement);
const under = byId('under', HTMLCanvasElement);
export const map = byId('map', HTMLCanvasElement);
const mapFrame = byId('map-frame', HTMLElement);
const opacity = byId('opacity', HTMLInputElement);
let grid = { rows: 16, cols: 16 };

/** What is on the map canvas. */
export interface Drawn {
  readonly caption: string;
  /** A description for screen readers. Default: the caption. */
  readonly label?: string;
  /** The patch that is outlined. */
  readonly mark?: PatchPosition | undefined;
  /** Patches that are marked with a dot. */
  readonly points?: readonly (PatchPosition & { readonly on: boolean })[];
  /** The values of the first and the last colour of the colour bar. */
  readonly range?: readonly [low: number, high: number];
  /** What follows the numbers of the colour bar. `×`: they are multiples of the average. */
  readonly unit?: '×';
}

/** Draws the photograph in both frames, with the proportions of the patch grid. */
export function drawPhoto(
  { bitmap, name }: Picture,
  input: InputSize,
  size: { rows: number; cols: number },
  preprocessing: Preprocessing | undefined,
): void {
  grid = size;
  const { rows, cols } = size;
  const { left, top, width, height } = cropOf(bitmap.width, bitmap.height, input, preprocessing);
  const longest = Math.max(rows, cols) * PATCH_PX;
  const scale = Math.max(
    1,
    Math.min(Math.floor(MOST_PX / longest), Math.ceil(Math.max(width, height) / longest)),
  );
  for (const canvas of [photo, under]) {
    canvas.width = cols * PATCH_PX * scale;
    canvas.height = rows * PATCH_PX * scale;
    const context = canvas.getContext('2d')!;
    context.imageSmoothingQuality = 'high';
    context.drawImage(bitmap, left, top, width, height, 0, 0, canvas.width, canvas.height);
  }
  photo.setAttribute('aria-label', `Photograph: ${name}`);
  setText(
    'photo-caption',
    `${shortName(name)}: ${cols * PATCH_PX} × ${rows * PATCH_PX} pixels for the model, of ${bitmap.width} × ${bitmap.height}`,
  );
}

/** Removes the map and says in its frame what is being computed. */
export function setBusy(text: string): void {
  mapFrame.setAttribute('aria-busy', 'true');
  clear(text);
}

/** Removes the map and says in its frame why there is none. */
export function setEmpty(text: string): void {
  mapFrame.setAttribute('aria-busy', 'false');
  clear(text);
}

function clear(text: string): void {
  mapFrame.classList.add('waiting');
  map.hidden = true;
  map.setAttribute('aria-label', text);
  setText('map-status', text);
  setText('map-caption', '');
  byId('legend', HTMLElement).hidden = true;
  mark(undefined);
  markPoints([]);
}

/** Shows what has been drawn on the map canvas. */
export function present({ caption, label = caption, mark: patch, points = [], range, unit }: Drawn): void {
  mapFrame.setAttribute('aria-busy', 'false');
  mapFrame.classList.remove('waiting');
  setText('map-status', '');
  map.hidden = false;
  map.setAttribute('aria-label', label);
  if (byId('map-caption', HTMLElement).textContent !== caption) setText('map-caption', caption);
  byId('legend', HTMLElement).hidden = !range;
  byId('legend', HTMLElement).title = unit ? 'Multiples of the average' : '';
  for (const [i, end] of ['low', 'high'].entries())
    setText(`legend-${end}`, range ? decimal(range[i]!) + (unit ?? '') : '');
  mark(patch);
  markPoints(points);
}

const decimal = (value: number): string => value.toFixed(Math.abs(value) < 10 ? 2 : 0).replace('-', '\u2212');

export const isSmooth = (): boolean => !map.classList.contains('crisp');
export const opacityNow = (): number => Number(opacity.value) / 100;

export interface PointerActions {
  /** The pointer is over a patch, or left the pictures. */
  onPoint(patch: PatchPosition | undefined): void;
  /** The visitor clicked or tapped on a patch. */
  onChoose(patch: PatchPosition): void;
  /** The visitor pressed an arrow key. */
  onMove(down: number, right: number): void;
  onEnter(): void;
  onEscape(): void;
}

const MOVES: Readonly<Record<string, readonly [down: number, right: number]>> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

export function startFrames({ onPoint, onChoose, onMove, onEnter, onEscape }: PointerActions): void {
  for (const frame of document.querySelectorAll<HTMLElement>('.frame')) {
    const pointed = ({ clientX, clientY }: MouseEvent): PatchPosition | undefined =>
      map.hidden ? undefined : patchAt(frame, clientX, clientY);
    frame.addEventListener('pointermove', (event) => onPoint(pointed(event)));
    frame.addEventListener('pointerdown', (event) => onPoint(pointed(event)));
    for (const end of ['pointerleave', 'pointercancel'] as const)
      frame.addEventListener(end, () => onPoint(undefined));
    frame.addEventListener('click', (event) => {
      const patch = pointed(event);
      if (patch) onChoose(patch);
    });
  }
  mapFrame.addEventListener('keydown', (event) => {
    const move = MOVES[event.key];
    if (map.hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    if (move) onMove(...move);
    else if (event.key === 'Enter' || event.key === ' ') onEnter();
    else if (event.key === 'Escape') onEscape();
    else return;
    event.preventDefault();
  });
  const setOpacity = (): void => map.style.setProperty('--opacity', String(opacityNow()));
  opacity.addEventListener('input', setOpacity);
  setOpacity();
  for (const input of document.querySelectorAll<HTMLInputElement>('input[name="upscale"]')) {
    const show = (): void => void (input.checked && map.classList.toggle('crisp', input.value === 'crisp'));
    input.addEventListener('change', show);
    show();
  }
}

/** Returns the patch at a point of the window; undefined if the point is outside of the picture. */
function patchAt(frame: HTMLElement, clientX: number, clientY: number): PatchPosition | undefined {
  const { rows, cols } = grid;
  const { patchPx, marginX, marginY } = gridOn(frame);
  const { left, top } = frame.getBoundingClientRect();
  const col = Math.floor((clientX - left - marginX) / patchPx);
  const row = Math.floor((clientY - top - marginY) / patchPx);
  return col >= 0 && row >= 0 && col < cols && row < rows ? { row, col } : undefined;
}

let marked: PatchPosition | undefined;
let dots: NonNullable<Drawn['points']> = [];

/** Outlines a patch in both pictures. If `patch` is undefined, removes the outline. */
function mark(patch: PatchPosition | undefined): void {
  marked = patch;
  for (const outline of document.querySelectorAll<HTMLElement>('.patch')) {
    outline.hidden = !patch;
    if (!patch) continue;
    const { patchPx, marginX, marginY } = gridOn(outline.parentElement!);
    outline.style.width = outline.style.height = `${patchPx}px`;
    outline.style.left = `${marginX + patch.col * patchPx}px`;
    outline.style.top = `${marginY + patch.row * patchPx}px`;
  }
}
/** Shows a dot on each patch that the visitor has clicked, in both pictures. */
function markPoints(points: NonNullable<Drawn['points']>): void {
  dots = points;
  for (const dot of document.querySelectorAll('.dot')) dot.remove();
  for (const frame of document.querySelectorAll<HTMLElement>('.frame')) {
    const { patchPx, marginX, marginY } = gridOn(frame);
    for (const { row, col, on } of points) {
      const dot = document.createElement('i');
      dot.className = on ? 'dot on' : 'dot off';
      dot.style.left = `${marginX + (col + 0.5) * patchPx}px`;
      dot.style.top = `${marginY + (row + 0.5) * patchPx}px`;
      frame.append(dot);
    }
  }
}
addEventListener('resize', () => {
  mark(marked);
  markPoints(dots);
});

/**
 * Computes where the grid of patches is in a square frame, in CSS pixels. The picture fills the frame along
 * its longer side, and is centred along its shorter side.
 */
function gridOn(frame: HTMLElement): { patchPx: number; marginX: number; marginY: number } {
  const { rows, cols } = grid;
  const side = frame.clientWidth;
  const patchPx = side / Math.max(rows, cols);
  return { patchPx, marginX: (side - cols * patchPx) / 2, marginY: (side - rows * patchPx) / 2 };
}

/** Encodes the map over the photograph as a PNG whose longer side has at least 896 pixels. */
export async function toPng(): Promise<Blob> {
  const { rows, cols } = grid;
  const scale = PATCH_PX * Math.max(1, Math.ceil(896 / (Math.max(rows, cols) * PATCH_PX)));
  const canvas = document.createElement('canvas');
  canvas.width = cols * scale;
  canvas.height = rows * scale;
  const context = canvas.getContext('2d')!;
  context.imageSmoothingQuality = 'high';
  context.drawImage(under, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = opacityNow();
  context.imageSmoothingEnabled = isSmooth();
  context.drawImage(map, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob(
      (blob) => (blob ? resolve(blob) : reject(new Error('The browser could not encode the canvas as PNG.'))),
      'image/png',
    );
  });
}
