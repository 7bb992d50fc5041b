/**
 * The view of all photographs, in the order in which they were added. While photographs are added, they
 * appear at its end.
 */
import type { EmbeddingIndex, IndexChange } from '../../src/search.js';
import { byId } from '../shared/dom.js';
import { tile } from './tiles.js';

/**
 * Number of tiles that are added to the view at a time. More tiles are added when the visitor scrolls to its
 * end.
 */
const PAGE = 240;

const more = byId('more', HTMLButtonElement);

export class AllView {
  readonly #index: EmbeddingIndex;
  readonly #onOpen: (id: string) => void;
  readonly #list = document.createElement('ol');
  readonly #tiles = new Map<string, HTMLLIElement>();
  #limit = PAGE;

  constructor(index: EmbeddingIndex, into: HTMLElement, onOpen: (id: string) => void) {
    this.#index = index;
    this.#onOpen = onOpen;
    this.#list.className = 'tiles';
    this.#list.setAttribute('aria-label', 'Photographs of the collection');
    into.replaceChildren(this.#list);
    this.#add(index.ids());
  }

  grow(): void {
    this.#limit += PAGE;
    this.#add(this.#index.ids());
  }

  change({ put, removed }: IndexChange): void {
    for (const id of removed) {
      this.#tiles.get(id)?.remove();
      this.#tiles.delete(id);
    }
    for (const id of put) {
      const old = this.#tiles.get(id);
      if (!old) continue;
      const made = this.#make(id);
      old.replaceWith(made);
    }
    this.#add(removed.length > 0 ? this.#index.ids() : put);
  }

  #make(id: string): HTMLLIElement {
    const made = tile({ id, metadata: this.#index.metadata(id) }, this.#onOpen);
    this.#tiles.set(id, made);
    return made;
  }

  #add(ids: readonly string[]): void {
    for (const id of ids) {
      if (this.#tiles.size >= this.#limit) break;
      if (!this.#tiles.has(id) && this.#index.has(id)) this.#list.append(this.#make(id));
    }
    const left = this.#index.size - this.#tiles.size;
    more.hidden = left === 0;
    more.textContent = `Show more (${left.toLocaleString('en')})`;
  }
}
