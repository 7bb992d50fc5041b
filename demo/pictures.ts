/**
 * Draws the two pictures of the page: the photograph, cropped as the model sees it, and a copy of the
 * photograph with its features on top.
 */
import type { PatchPosition, Preprocessing } from '../src/index.js';
import { byId } from './dom.js';
import { cropOf } from './crop.js';
import type { InputSize, Picture } from './state.js';

const PATCH_PX = 14;
/** Maximum size of the longer side of the drawn photograph in canvas pixels. */
const MOST_PX = 1036;

const photo = byId('photo', HTMLCanvasElement);
const under = byId('under', HTMLCanvasElement);
export const pcaCanvas = byId('pca', HTMLCanvasElement);
const similarityCanvas = byId('similarity', HTMLCanvasElement);
const pcaFrame = byId('pca-frame', HTMLElement);
const opacity = byId('opacity', HTMLInputElement);
const opacityValue = byId('opacity-value', HTMLOutputElement);

/**
 * Draws the photograph on the left, and a copy of it beneath the features on the right. Both have the
 * proportions of the patch grid.
 */
export function drawPhoto(
  { bitmap, name }: Picture,
  input: InputSize,
  { rows, cols }: { rows: number; cols: number },
  preprocessing: Preprocessing | undefined,
): void {
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
  byId('photo-caption', HTMLElement).textContent =
    `${cols * PATCH_PX} × ${rows * PATCH_PX} pixels for the model, of ${bitmap.width} × ${bitmap.height}`;
}

export function setBusy(busy: boolean): void {
  pcaFrame.setAttribute('aria-busy', String(busy));
}

/** Shows a text in place of the features. If the text is empty, the features are shown. */
export function setEmpty(text: string): void {
  byId('pca-empty', HTMLElement).textContent = text;
  for (const canvas of [pcaCanvas, under]) canvas.hidden = text !== '';
}

function setOpacity(): void {
  pcaCanvas.style.opacity = String(Number(opacity.value) / 100);
  opacityValue.textContent = `${opacity.value} %`;
}

const isCrisp = (): boolean => pcaCanvas.classList.contains('crisp');

export function startPictures(): void {
  opacity.addEventListener('input', setOpacity);
  setOpacity();
  for (const input of document.querySelectorAll<HTMLInputElement>('input[name="upscale"]')) {
    const show = (): void => {
      if (!input.checked) return;
      for (const canvas of [pcaCanvas, similarityCanvas])
        canvas.classList.toggle('crisp', input.value === 'crisp');
    };
    input.addEventListener('change', show);
    show();
  }
}

/**
 * Returns the patch at a point of the browser window; undefined if the point is outside of the picture in
 * `frame`.
 */
export function patchAt(frame: HTMLElement, clientX: number, clientY: number): PatchPosition | undefined {
  const { cols, rows, patchPx, marginX, marginY } = gridOn(frame);
  const { left, top } = frame.getBoundingClientRect();
  const col = Math.floor((clientX - left - marginX) / patchPx);
  const row = Math.floor((clientY - top - marginY) / patchPx);
  const inside = !pcaCanvas.hidden && col >= 0 && row >= 0 && col < cols && row < rows;
  return inside ? { row, col } : undefined;
}

/** Outlines a patch in both pictures. If `patch` is undefined, removes the outline. */
export function markPatch(patch: PatchPosition | undefined): void {
  for (const mark of document.querySelectorAll<HTMLElement>('.patch')) {
    mark.hidden = !patch || pcaCanvas.hidden;
    if (!patch) continue;
    const { patchPx, marginX, marginY } = gridOn(mark.parentElement!);
    mark.style.width = mark.style.height = `${patchPx}px`;
    mark.style.left = `${marginX + patch.col * patchPx}px`;
    mark.style.top = `${marginY + patch.row * patchPx}px`;
  }
}

/**
 * Computes where the grid of patches is in a square frame, in CSS pixels. The picture fills the frame along
 * its longer side, and is centred along its shorter side.
 */
function gridOn(frame: HTMLElement): {
  cols: number;
  rows: number;
  patchPx: number;
  marginX: number;
  marginY: number;
} {
  const { width: cols, height: rows } = pcaCanvas;
  const side = frame.clientWidth;
  const patchPx = side / Math.max(rows, cols);
  return { cols, rows, patchPx, marginX: (side - cols * patchPx) / 2, marginY: (side - rows * patchPx) / 2 };
}

/**
 * Encodes the right-hand picture (the features over the photograph) as a PNG whose longer side has at least
 * 896 pixels.
 */
export async function toPng(): Promise<Blob> {
  const { width: cols, height: rows } = pcaCanvas;
  const scale = PATCH_PX * Math.max(1, Math.ceil(896 / (Math.max(rows, cols) * PATCH_PX)));
  const canvas = document.createElement('canvas');
  canvas.width = cols * scale;
  canvas.height = rows * scale;
  const context = canvas.getContext('2d')!;
  context.imageSmoothingQuality = 'high';
  context.drawImage(under, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = Number(opacity.value) / 100;
  context.imageSmoothingEnabled = !isCrisp();
  context.drawImage(pcaCanvas, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 1;
  if (!similarityCanvas.hidden) context.drawImage(similarityCanvas, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob(
      (blob) => (blob ? resolve(blob) : reject(new Error('The browser could not encode the canvas as PNG.'))),
      'image/png',
    );
  });
}
