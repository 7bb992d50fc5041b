/** Pointers and keys on the two frames: pointing at a patch, keeping it, and drawing a region in picture A. */
import type { PatchPosition, PatchRegion } from '../../src/index.js';
import { frames, sides, type Side } from './frame.js';
import { change, choices, grow, move, point } from './page.js';

const MOVES: Readonly<Record<string, readonly [down: number, right: number]>> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

export function startPointing(): void {
  for (const side of sides) {
    const { element } = frames[side];
    const patchAt = ({ clientX, clientY }: MouseEvent): PatchPosition | undefined =>
      frames[side].ready ? frames[side].patchAt(clientX, clientY) : undefined;
    const pointAt = (event: MouseEvent): void => {
      const patch = patchAt(event);
      point(patch && { side, ...patch });
    };
    element.addEventListener('pointermove', (event) => {
      if (side === 'a' && dragTo(event)) point(undefined);
      else pointAt(event);
    });
    element.addEventListener('pointerdown', (event) => {
      pointAt(event);
      if (side === 'a') startDrag(event, patchAt(event));
    });
    for (const end of ['pointerleave', 'pointercancel'] as const)
      element.addEventListener(end, () => point(undefined));
    element.addEventListener('click', (event) => {
      if (endDrag()) return;
      const patch = patchAt(event);
      if (patch) keep(side, patch);
    });
    element.addEventListener('keydown', (event) => {
      const { key, shiftKey, ctrlKey, metaKey, altKey } = event;
      if (!frames[side].ready || ctrlKey || metaKey || altKey) return;
      const step = MOVES[key];
      if (step && shiftKey && side === 'a') grow(...step);
      else if (step) move(side, ...step);
      else if (key === 'Enter' || key === ' ') move(side, 0, 0);
      else if (key === 'Escape') change({ patch: undefined, region: undefined });
      else return;
      event.preventDefault();
    });
  }
}

/** Keeps a patch, or releases it if it is already kept. */
function keep(side: Side, patch: PatchPosition): void {
  const { patch: kept } = choices;
  const same = kept?.side === side && kept.row === patch.row && kept.col === patch.col;
  if (same) point(undefined);
  change({ patch: same ? undefined : { side, ...patch } });
}

/** The patch at which a drag began, and the region so far. */
let drag: { from: PatchPosition; region?: PatchRegion } | undefined;

function startDrag(event: PointerEvent, from: PatchPosition | undefined): void {
  drag = undefined;
  // A finger scrolls the page, so it draws no region.
  if (choices.tab !== 'matches' || !from || event.button !== 0 || event.pointerType === 'touch') return;
  drag = { from };
  frames.a.element.setPointerCapture(event.pointerId);
}

/** Continues a drag. Returns false if no region is being drawn. */
function dragTo({ clientX, clientY, buttons }: PointerEvent): boolean {
  if (!drag || (buttons & 1) === 0) return false;
  const { from } = drag;
  const to = frames.a.patchNear(clientX, clientY);
  if (!drag.region && to.row === from.row && to.col === from.col) return false;
  drag.region = {
    row: Math.min(from.row, to.row),
    col: Math.min(from.col, to.col),
    rows: Math.abs(from.row - to.row) + 1,
    cols: Math.abs(from.col - to.col) + 1,
  };
  change({ region: drag.region, patch: undefined });
  return true;
}

/** Ends a drag. Returns true if it was more than a click. */
function endDrag(): boolean {
  const drawn = drag?.region !== undefined;
  drag = undefined;
  return drawn;
}
