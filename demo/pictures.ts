/** Draws the two pictures: the photograph, cropped as for the model, and its features over it. */
import type { Preprocessing } from '../src/index.js';
import { byId } from './dom.js';
import { cropOf } from './crop.js';
import type { InputSize, Picture } from './state.js';

const PATCH_PX = 14;
/** Largest number of canvas pixels along a side of the photograph. */
const MOST_PX = 1036;

const photo = byId('photo', HTMLCanvasElement);
const under = byId('under', HTMLCanvasElement);
export const pcaCanvas = byId('pca', HTMLCanvasElement);
const pcaFrame = byId('pca-frame', HTMLElement);
const opacity = byId('opacity', HTMLInputElement);
const opacityValue = byId('opacity-value', HTMLOutputElement);

/** Draws the photograph on the left, and again beneath the features, in the proportions of the patch grid. */
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

/** Shows a text in place of the features. An empty text shows the features. */
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
    const show = (): void =>
      void (input.checked && pcaCanvas.classList.toggle('crisp', input.value === 'crisp'));
    input.addEventListener('change', show);
    show();
  }
  for (const frame of document.querySelectorAll<HTMLElement>('.frame')) {
    frame.addEventListener('pointermove', ({ clientX, clientY }) => markPatch(frame, clientX, clientY));
    frame.addEventListener('pointerleave', () => markPatch(frame, -1, -1));
  }
}

/** Outlines the patch under the pointer in both pictures. */
function markPatch(frame: HTMLElement, clientX: number, clientY: number): void {
  const { width: cols, height: rows } = pcaCanvas;
  const { left, top, width: side } = frame.getBoundingClientRect();
  // The picture fills the square frame along one axis, and is centred along the other axis.
  const patch = side / Math.max(rows, cols);
  const [marginX, marginY] = [(side - cols * patch) / 2, (side - rows * patch) / 2];
  const [col, row] = [
    Math.floor((clientX - left - marginX) / patch),
    Math.floor((clientY - top - marginY) / patch),
  ];
  const inside = !pcaCanvas.hidden && col >= 0 && row >= 0 && col < cols && row < rows;
  for (const mark of document.querySelectorAll<HTMLElement>('.patch')) {
    mark.hidden = !inside;
    mark.style.width = mark.style.height = `${patch}px`;
    mark.style.left = `${marginX + col * patch}px`;
    mark.style.top = `${marginY + row * patch}px`;
  }
}

/** Encodes the right picture as a PNG of at least 896 pixels along its longer side. */
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
  return new Promise((resolve, reject) => {
    canvas.toBlob(
      (blob) => (blob ? resolve(blob) : reject(new Error('The browser could not encode the canvas as PNG.'))),
      'image/png',
    );
  });
}
