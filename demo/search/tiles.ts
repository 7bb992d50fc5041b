/**
 * Tiles: buttons with a photograph. A click on a tile opens its photograph. Names are inserted as text, so
 * markup in a name has no effect.
 */
import type { PartHit } from '../../src/search.js';
import { fileOf, nameOf } from './photos.js';
import { picture } from './pictures.js';

export interface Tile {
  readonly id: string;
  readonly metadata: unknown;
  readonly score?: number | undefined;
  /**
   * The part of this photograph that matched, in patches. Undefined unless the search was for a part of a
   * photograph.
   */
  readonly part?: Pick<PartHit, 'box' | 'grid'> | undefined;
}

export function tile({ id, metadata, score, part }: Tile, onOpen: (id: string) => void): HTMLLIElement {
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
  const label = span('label');
  label.append(span('name', nameOf(id)));
  if (score !== undefined) label.append(' ', span('score', score.toFixed(2)));
  button.append(cell, label);
  button.addEventListener('click', () => onOpen(id));
  item.append(button);
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
  list.className = 'tiles named';
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
