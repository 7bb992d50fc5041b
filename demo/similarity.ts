/**
 * Shows how similar every patch of the picture is to one patch: the patch under the pointer, or a patch that
 * was chosen with a click or with the arrow keys.
 */
import { PatchSimilarity, type Features, type PatchPosition } from '../src/index.js';
import { byId, setText } from './dom.js';
import { markPatch, pcaCanvas, patchAt } from './pictures.js';

const canvas = byId('similarity', HTMLCanvasElement);
const hint = byId('similarity-hint', HTMLElement);
const frame = byId('pca-frame', HTMLElement);
const HINT =
  'Point at a patch to see what resembles it. Click to keep it; arrow keys move it, Escape ends it.';

let similarity: PatchSimilarity | undefined;
let pinned: PatchPosition | undefined;

/** Reads the patch tokens of new features, so that their similarities can be shown. */
export async function useFeatures(features: Features, signal: AbortSignal): Promise<void> {
  const next = await PatchSimilarity.read(features);
  if (signal.aborted) return;
  similarity = next;
  hint.textContent = HINT;
}

/** Removes the similarities from the page, because the features are about to change. */
export function clearSimilarity(): void {
  similarity = pinned = undefined;
  show(undefined);
  hint.textContent = '';
}

/** Shows the similarity of all patches to one patch. If `patch` is undefined, shows the features alone. */
function show(patch: PatchPosition | undefined): void {
  canvas.hidden = pcaCanvas.hidden || !patch || !similarity;
  markPatch(patch);
  if (!patch || !similarity) {
    hint.textContent = similarity ? HINT : '';
    return;
  }
  similarity.map(patch).draw(canvas);
  setText(
    'similarity-hint',
    `Similarity to the patch in row ${patch.row + 1}, column ${patch.col + 1}: dark is least, yellow most similar.`,
  );
}

function moveBy(down: number, right: number): void {
  if (!similarity) return;
  const { rows, cols } = similarity;
  const from = pinned ?? { row: Math.floor(rows / 2), col: Math.floor(cols / 2) };
  pinned = {
    row: Math.min(rows - 1, Math.max(0, from.row + down)),
    col: Math.min(cols - 1, Math.max(0, from.col + right)),
  };
  show(pinned);
}

const MOVES: Readonly<Record<string, readonly [down: number, right: number]>> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

export function startSimilarity(): void {
  for (const each of document.querySelectorAll<HTMLElement>('.frame')) {
    each.addEventListener('pointermove', ({ clientX, clientY }) => {
      const patch = patchAt(each, clientX, clientY);
      if (patch) show(patch);
      else show(pinned);
    });
    each.addEventListener('pointerleave', () => show(pinned));
    each.addEventListener('click', ({ clientX, clientY }) => {
      const patch = patchAt(each, clientX, clientY);
      pinned = patch && pinned?.row === patch.row && pinned.col === patch.col ? undefined : patch;
      show(pinned ?? patch);
    });
  }
  frame.addEventListener('keydown', (event) => {
    const move = MOVES[event.key];
    if (event.key === 'Escape') show((pinned = undefined));
    else if (move) moveBy(...move);
    else return;
    event.preventDefault();
  });
}
