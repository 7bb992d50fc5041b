/** Lets the visitor draw a box on the opened photograph, with the pointer or with the arrow keys. */
import { byId } from '../shared/dom.js';

/** A box as fractions (0 to 1) of the photograph's width and height. */
export interface Part {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

const box = byId('query-box', HTMLElement);
const mark = byId('query-mark', HTMLElement);
/**
 * A drag that is shorter than this fraction of the photograph's width or height counts as a click, which
 * removes the box.
 */
const LEAST = 0.03;
/**
 * How far an arrow key moves the box, and the smallest side of a box, both as fractions of the photograph's
 * width or height.
 */
const STEP = 1 / 16;

let part: Part | undefined;
let usable = false;

const clamp = (value: number, least: number, most: number): number => Math.min(most, Math.max(least, value));

function show(): void {
  mark.hidden = !part;
  box.setAttribute('aria-disabled', String(!usable));
  const percent = (share: number): string => `${Math.round(100 * share)} %`;
  box.setAttribute(
    'aria-label',
    part
      ? `Part of the photograph: from ${percent(part.left)} across and ${percent(part.top)} down, ${percent(part.width)} wide and ${percent(part.height)} high`
      : 'The whole photograph',
  );
  if (!part) return;
  for (const side of ['left', 'top', 'width', 'height'] as const) mark.style[side] = `${100 * part[side]}%`;
}

/** Sets the box, or removes it, and enables or disables drawing. */
export function setDrawing(canDraw: boolean, box: Part | undefined): void {
  part = box;
  usable = canDraw;
  show();
}

/**
 * Lets the visitor draw. Calls `onPart` with a new or changed box, and with undefined after the box was
 * removed.
 */
export function startDrawing(onPart: (part: Part | undefined) => void): void {
  let from: { readonly x: number; readonly y: number } | undefined;
  const at = ({ clientX, clientY }: PointerEvent): { x: number; y: number } => {
    const { left, top, width, height } = box.getBoundingClientRect();
    return { x: clamp((clientX - left) / width, 0, 1), y: clamp((clientY - top) / height, 0, 1) };
  };
  const between = (a: { x: number; y: number }, b: { x: number; y: number }): Part => ({
    left: Math.min(a.x, b.x),
    top: Math.min(a.y, b.y),
    width: Math.abs(a.x - b.x),
    height: Math.abs(a.y - b.y),
  });
  const isClick = ({ width, height }: Part): boolean => width < LEAST || height < LEAST;

  box.addEventListener('pointerdown', (event) => {
    if (!usable || event.button !== 0) return;
    from = at(event);
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener('pointermove', (event) => {
    if (!from) return;
    part = between(from, at(event));
    show();
  });
  box.addEventListener('pointerup', (event) => {
    if (!from) return;
    const drawn = between(from, at(event));
    from = undefined;
    const had = part !== undefined;
    part = isClick(drawn) ? undefined : drawn;
    show();
    if (part || had) onPart(part);
  });
  box.addEventListener('pointercancel', () => {
    from = undefined;
  });

  let told: ReturnType<typeof setTimeout> | undefined;
  const tellSoon = (): void => {
    clearTimeout(told);
    told = setTimeout(() => onPart(part), 350); // the search starts when the box no longer moves
  };
  box.addEventListener('keydown', (event) => {
    if (!usable) return;
    if (event.key === 'Escape' && part) part = undefined;
    else if (event.key.startsWith('Arrow')) part = byKey(event.key, event.shiftKey);
    else return;
    event.preventDefault();
    show();
    tellSoon();
  });
}

/**
 * The first press of an arrow key makes a box in the middle of the photograph. Further presses move the box.
 * With Shift, they resize the box by moving its lower right corner.
 */
function byKey(key: string, size: boolean): Part {
  if (!part) return { left: 0.25, top: 0.25, width: 0.5, height: 0.5 };
  const [dx, dy] = [
    key === 'ArrowRight' ? STEP : key === 'ArrowLeft' ? -STEP : 0,
    key === 'ArrowDown' ? STEP : key === 'ArrowUp' ? -STEP : 0,
  ];
  const { left, top, width, height } = part;
  if (size)
    return { left, top, width: clamp(width + dx, STEP, 1 - left), height: clamp(height + dy, STEP, 1 - top) };
  return { left: clamp(left + dx, 0, 1 - width), top: clamp(top + dy, 0, 1 - height), width, height };
}
