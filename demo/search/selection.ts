/**
 * The selection: photographs whose boxes are checked. The bar at the bottom of the window removes them from
 * the collection, or exports them.
 */
import { byId, setText } from '../shared/dom.js';
import { nameOf } from './photos.js';

const bar = byId('selection', HTMLElement);
const toggle = byId('select', HTMLButtonElement);
const body = document.body;
const selected = new Set<string>();

/** True while a click on a tile selects its photograph. */
export const isSelecting = (): boolean => body.classList.contains('selecting');

/** Makes the box that selects a photograph. */
export function selectBox(id: string): HTMLInputElement {
  const box = document.createElement('input');
  box.type = 'checkbox';
  box.checked = selected.has(id);
  box.dataset['id'] = id;
  box.setAttribute('aria-label', `Select ${nameOf(id)}`);
  return box;
}

function show(): void {
  bar.hidden = selected.size === 0 && !isSelecting();
  setText(
    'selection-count',
    selected.size === 0 ? 'Nothing selected' : `${selected.size.toLocaleString('en')} selected`,
  );
  for (const id of ['selection-remove', 'selection-export'])
    byId(id, HTMLButtonElement).disabled = selected.size === 0;
  toggle.setAttribute('aria-pressed', String(isSelecting()));
}

function set(ids: Iterable<string>, on: boolean): void {
  for (const id of ids) selected[on ? 'add' : 'delete'](id);
  for (const box of document.querySelectorAll<HTMLInputElement>('.select input'))
    box.checked = selected.has(box.dataset['id']!);
  show();
}

/** Forgets photographs that are not in the collection any more. */
export function unselect(ids: readonly string[]): void {
  if (ids.some((id) => selected.has(id))) set(ids, false);
}

/** Ends the selection. */
export function endSelection(): void {
  body.classList.remove('selecting');
  set([...selected], false);
}

/** Shows or hides the button that starts a selection. */
export function allowSelection(isAllowed: boolean): void {
  toggle.hidden = !isAllowed;
  if (!isAllowed && (isSelecting() || selected.size > 0)) endSelection();
}

export function startSelection(actions: {
  readonly remove: (ids: readonly string[]) => void;
  readonly save: (ids: readonly string[]) => void;
}): void {
  toggle.addEventListener('click', () => {
    if (isSelecting()) return endSelection();
    body.classList.add('selecting');
    show();
  });
  addEventListener('change', ({ target }) => {
    if (target instanceof HTMLInputElement && target.closest('.select'))
      set([target.dataset['id']!], target.checked);
  });
  byId('selection-end', HTMLButtonElement).addEventListener('click', endSelection);
  byId('selection-export', HTMLButtonElement).addEventListener('click', () => actions.save([...selected]));
  byId('selection-remove', HTMLButtonElement).addEventListener('click', () => {
    const ids = [...selected];
    endSelection();
    actions.remove(ids);
  });
  show();
}
