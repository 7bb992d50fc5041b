/**
 * The two pictures: the video, and beside it the frame whose features were computed last, with what the tab
 * shows of them. Reports where the visitor clicks.
 */
import { byId, setText } from '../shared/dom.js';
import type { Drawing } from './mode.js';

/** Maximum size of the longer side of the drawn frame in canvas pixels. */
const MOST_PX = 960;

const video = byId('video', HTMLVideoElement);
const videoFrame = byId('video-frame', HTMLElement);
const mapFrame = byId('map-frame', HTMLElement);
const under = byId('under', HTMLCanvasElement);
const map = byId('map', HTMLCanvasElement);
const cursor = byId('cursor', HTMLElement);
const opacity = byId('opacity', HTMLInputElement);
const mirror = byId('mirror', HTMLInputElement);

export const isSmooth = (): boolean => !byId('crisp', HTMLInputElement).checked;
export const opacityNow = (): number => Number(opacity.value);

interface Size {
  readonly width: number;
  readonly height: number;
}
let grid = { rows: 6, cols: 8 };

const sizeOf = (frame: VideoFrame | HTMLVideoElement): Size =>
  'displayWidth' in frame
    ? { width: frame.displayWidth, height: frame.displayHeight }
    : { width: frame.videoWidth, height: frame.videoHeight };

/**
 * Shows a frame with a drawing of its features. Both appear together: the drawing is submitted to the GPU
 * before the frame is drawn below it.
 * @param frame the picture; undefined: the picture that is shown stays
 */
export async function show(
  frame: VideoFrame | HTMLVideoElement | undefined,
  size: { readonly rows: number; readonly cols: number },
  drawing: Drawing | undefined,
): Promise<void> {
  grid = size;
  if (frame) {
    const { width, height } = sizeOf(frame);
    const scale = Math.min(1, MOST_PX / Math.max(width, height));
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    // Setting a size clears a canvas, even if the size stays the same.
    for (const canvas of [under, map])
      if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  }
  await drawing?.drawTo(map, isSmooth());
  if (frame) under.getContext('2d')!.drawImage(frame, 0, 0, under.width, under.height);
  map.classList.toggle('darkens', drawing?.darkens ?? false);
  map.hidden = !drawing;
  mapFrame.classList.remove('waiting');
  mapFrame.setAttribute('aria-busy', 'false');
}

/** Removes the drawing and says in the frame what is being done. */
export function setBusy(text: string): void {
  wait(text);
  mapFrame.setAttribute('aria-busy', 'true');
}

/** Removes the drawing and says in the frame why there is none. */
export function setEmpty(text: string): void {
  wait(text);
  mapFrame.setAttribute('aria-busy', 'false');
}

function wait(text: string): void {
  mapFrame.classList.add('waiting');
  map.hidden = true;
  map.setAttribute('aria-label', text);
  setText('map-status', text);
  setText('map-caption', '\u00a0');
  byId('legend', HTMLElement).hidden = true;
}

/** Hides the drawing until the next one, without a message. */
export function hideDrawing(): void {
  map.hidden = true;
}

/**
 * Says what is shown, or what the visitor has to do if nothing is drawn.
 * @param range the values of the first and the last colour of the colour bar
 */
export function describe(text: string, isDrawn: boolean, range: readonly [number, number] | undefined): void {
  const say = (id: string, words: string): void => {
    if (byId(id, HTMLElement).textContent !== words) setText(id, words);
  };
  say('map-caption', isDrawn ? text : '\u00a0');
  say('map-status', isDrawn ? '' : text);
  map.setAttribute('aria-label', `Features: ${text}`);
  byId('legend', HTMLElement).hidden = !range;
  for (const [i, end] of ['low', 'high'].entries())
    setText(`legend-${end}`, range ? range[i]!.toFixed(2).replace('-', '\u2212') : '');
}

/** Sets whether the pictures are shown as in a mirror. */
export function setMirror(on: boolean): void {
  mirror.checked = on;
  for (const frame of [videoFrame, mapFrame]) frame.classList.toggle('mirrored', on);
}

/** Part of the picture that was picked: a small picture of its surroundings. */
export function thumbnail({ x, y }: { readonly x: number; readonly y: number }, on: boolean): HTMLElement {
  const side = Math.round(Math.max(under.width, under.height) / 8);
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 80;
  const context = canvas.getContext('2d')!;
  const [left, top] = [x * under.width - side / 2, y * under.height - side / 2];
  if (mirror.checked) context.setTransform(-1, 0, 0, 1, canvas.width, 0);
  context.drawImage(under, left, top, side, side, 0, 0, canvas.width, canvas.height);
  canvas.className = on ? 'pick on' : 'pick off';
  canvas.role = 'img';
  canvas.ariaLabel = `${on ? 'Picked' : 'Picked as not the object'}: ${Math.round(x * 100)} % from the left, ${Math.round(y * 100)} % from the top`;
  return canvas;
}

/** A point of the picture, in shares of its width and height. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

const MOVES: Readonly<Record<string, readonly [down: number, right: number]>> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

/**
 * Reports clicks, and picks by the keyboard.
 * @param onPick `where`: the frame in which the visitor clicked
 */
export function startStage(onPick: (point: Point, where: 'video' | 'map') => void): void {
  for (const [frame, where] of [
    [videoFrame, 'video'],
    [mapFrame, 'map'],
  ] as const)
    frame.addEventListener('click', ({ clientX, clientY }) => {
      const point = pointOf(frame, clientX, clientY, where === 'video' ? videoSize() : under);
      if (point) onPick(point, where);
    });
  let at: { row: number; col: number } | undefined;
  mapFrame.addEventListener('keydown', (event) => {
    const move = MOVES[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (move) {
      const [down, right] = move;
      const { rows, cols } = grid;
      at ??= { row: rows >> 1, col: cols >> 1 };
      at.row = Math.min(rows - 1, Math.max(0, at.row + down));
      at.col = Math.min(cols - 1, Math.max(0, at.col + (mirror.checked ? -right : right)));
    } else if ((event.key === 'Enter' || event.key === ' ') && at)
      onPick({ x: (at.col + 0.5) / grid.cols, y: (at.row + 0.5) / grid.rows }, 'map');
    else if (event.key === 'Escape') at = undefined;
    else return;
    event.preventDefault();
    outline(at);
  });
  mapFrame.addEventListener('blur', () => outline((at = undefined)));
  const setOpacity = (): void => map.style.setProperty('--opacity', String(opacityNow() / 100));
  opacity.addEventListener('input', setOpacity);
  mirror.addEventListener('change', () => setMirror(mirror.checked));
  setOpacity();
}

const videoSize = (): Size =>
  video.videoWidth > 0 ? { width: video.videoWidth, height: video.videoHeight } : under;

/** The picture in its frame, in CSS pixels from the left and the top of the frame. */
function boxOf(frame: HTMLElement, { width, height }: Size): Size & { left: number; top: number } {
  const scale = Math.min(frame.clientWidth / width, frame.clientHeight / height);
  const [w, h] = [width * scale, height * scale];
  return { left: (frame.clientWidth - w) / 2, top: (frame.clientHeight - h) / 2, width: w, height: h };
}

function pointOf(frame: HTMLElement, clientX: number, clientY: number, size: Size): Point | undefined {
  const box = boxOf(frame, size);
  const { left, top } = frame.getBoundingClientRect();
  const x = (clientX - left - box.left) / box.width;
  const y = (clientY - top - box.top) / box.height;
  if (x < 0 || y < 0 || x >= 1 || y >= 1) return undefined;
  return { x: mirror.checked ? 1 - x : x, y };
}

/** Outlines the patch of the keyboard. */
function outline(at: { row: number; col: number } | undefined): void {
  cursor.hidden = !at;
  if (!at) return;
  const box = boxOf(mapFrame, under);
  const [width, height] = [box.width / grid.cols, box.height / grid.rows];
  const col = mirror.checked ? grid.cols - 1 - at.col : at.col;
  cursor.style.width = `${width}px`;
  cursor.style.height = `${height}px`;
  cursor.style.left = `${box.left + col * width}px`;
  cursor.style.top = `${box.top + at.row * height}px`;
}

/** Encodes what the right picture shows as a PNG file. */
export async function toPng(drawing: Drawing | undefined): Promise<Blob> {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [under.width, under.height];
  const context = canvas.getContext('2d')!;
  if (mirror.checked) context.setTransform(-1, 0, 0, 1, canvas.width, 0);
  context.drawImage(under, 0, 0);
  if (drawing) {
    const drawn = document.createElement('canvas');
    await drawing.draw(drawn);
    context.globalAlpha = opacityNow() / 100;
    if (drawing.darkens) context.globalCompositeOperation = 'multiply';
    context.imageSmoothingEnabled = isSmooth();
    context.imageSmoothingQuality = 'high';
    context.drawImage(drawn, 0, 0, canvas.width, canvas.height);
  }
  return new Promise((resolve, reject) => {
    canvas.toBlob(
      (blob) => (blob ? resolve(blob) : reject(new Error('The browser could not encode the canvas as PNG.'))),
      'image/png',
    );
  });
}
