/**
 * Tiles: buttons with a photograph and its name. A click on a tile opens its photograph or, while photographs
 * are selected, selects it. Names are inserted as text, so markup in a name has no effect.
 */
import type { PartHit } from '../../src/search.js';
import { fileOf, nameOf } from './photos.js';
import { picture } from './pictures.js';
import { isSelecting, selectBox } from './selection.js';

export interface Tile {
  readonly id: string;
  readonly metadata: unknown;
  readonly score?: number | undefined;
  /**
   * The part of this photograph that matched, in patches. Undefined unless the search was for a part of a
   * photograph.
   */
  readonly part?: Pick<PartHit, 'box' | 'grid'> | undefined;
  /** Lines of text under the name. */
  readonly details?: readonly string[] | undefined;
  /** A word on the photograph, such as `best`. */
  readonly badge?: string | undefined;
}

export function tile(
  { id, metadata, score, part, details = [], badge }: Tile,
  onOpen: (id: string) => void,
): HTMLLIElement {
  const item = document.createElement('li');
  const button = document.createElement('button');
  button.type = 'button';
  button.title = id;
  const cell = span('cell');
  const fit = span('fit');
  fit.append(picture(id));
  if (part) {
    const { width = part.grid.cols, height = part.grid.rows } = fileOf(metadata) ?? {};
    cell.classList.add('boxed');
    fit.classList.add(width >= height ? 'wide' : 'tall');
    fit.style.setProperty('--shape', `${width} / ${height}`);
    const box = document.createElement('i');
    box.className = 'box';
    place(box, part);
    fit.append(box);
  }
  cell.append(fit);
  if (badge !== undefined) cell.append(span('badge', badge));
  const label = span('label');
  const name = span('name', nameOf(id));
  name.dir = 'auto'; // a name from right to left loses its end at the left
  label.append(name);
  if (score !== undefined) label.append(' ', span('score', score.toFixed(2)));
  button.append(cell, label);
  for (const line of details) button.append(' ', span('detail', line));
  const select = selectBox(id);
  button.addEventListener('click', () => (isSelecting() ? select.click() : onOpen(id)));
  const target = document.createElement('label');
  target.className = 'select';
  target.append(select);
  item.append(button, target);
  return item;
}

/** Positions an element over the patches of a box, as percentages of the photograph's size. */
export function place(element: HTMLElement, { box, grid }: Pick<PartHit, 'box' | 'grid'>): void {
  element.style.left = `${(100 * box.col) / grid.cols}%`;
  element.style.top = `${(100 * box.row) / grid.rows}%`;
  element.style.width = `${(100 * box.cols) / grid.cols}%`;
  element.style.height = `${(100 * box.rows) / grid.rows}%`;
}

export function tileList(tiles: readonly Tile[], onOpen: (id: string) => void): HTMLOListElement {
  const list = document.createElement('ol');
  list.className = 'tiles';
  list.append(...tiles.map((each) => tile(each, onOpen)));
  return list;
}

export function text(tag: string, content: string, className = ''): HTMLElement {
  const made = document.createElement(tag);
  made.textContent = content;
  if (className) made.className = className;
  return made;
}

const span = (className: string, content = ''): HTMLElement => text('span', content, className);
