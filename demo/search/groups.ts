/** The view of groups of similar photographs. Each has a cover and a name: those of its middle photograph. */
import { shortName } from '../shared/format.js';
import type { EmbeddingIndex } from '../../src/search.js';
import { count, nameOf } from './photos.js';
import { text, tileList } from './tiles.js';

const MOST_TILES = 60;

/**
 * Makes the elements of the view.
 * @param groups the ids of each group, nearest to the middle first
 */
export function groupSections(
  index: EmbeddingIndex,
  groups: readonly (readonly string[])[],
  onOpen: (id: string) => void,
): HTMLElement[] {
  return groups.flatMap((ids) => {
    const present = ids.filter((id) => index.has(id));
    const [cover] = present;
    if (cover === undefined) return [];
    const made = document.createElement('section');
    made.className = 'found-group';
    const heading = document.createElement('div');
    heading.className = 'group-name';
    heading.append(text('h3', shortName(nameOf(cover))), text('p', count(present.length), 'hint'));
    const list = tileList(
      present.slice(0, MOST_TILES).map((id) => ({ id, metadata: index.metadata(id) })),
      onOpen,
    );
    if (present.length > 2) list.firstElementChild?.classList.add('cover');
    made.append(heading, list);
    if (present.length > MOST_TILES)
      made.append(text('p', `and ${count(present.length - MOST_TILES)} more`, 'hint'));
    return [made];
  });
}
