/** The view of near-duplicates: groups of copies of one photograph, of which the best can be kept. */
import type { EmbeddingIndex } from '../../src/search.js';
import { button } from '../shared/dom.js';
import { megabytes } from '../shared/format.js';
import { bestOf } from './best.js';
import { fileOf } from './photos.js';
import { removePhotographs } from './removal.js';
import { text, tileList, type Tile } from './tiles.js';

const others = (number: number): string =>
  number === 1 ? 'the other' : `${number.toLocaleString('en')} others`;

/** Makes the elements of the view. */
export function duplicateGroups(
  index: EmbeddingIndex,
  groups: readonly (readonly string[])[],
  onOpen: (id: string) => void,
): HTMLElement[] {
  const present = groups.map((ids) => ids.filter((id) => index.has(id))).filter((ids) => ids.length > 1);
  if (present.length === 0) return [text('p', 'No two photographs are that similar.', 'none')];
  const found = present.map((ids) => {
    const best = bestOf(ids.map((id) => ({ id, file: fileOf(index.metadata(id)) })));
    return { ids, best, rest: ids.filter((id) => id !== best) };
  });
  const lead = document.createElement('div');
  lead.className = 'lead-in';
  lead.append(
    text(
      'p',
      'The best photograph of a group has the most pixels; of these it is the largest file, then the oldest. Photographs are removed from the collection only: the files on your disk are not changed.',
      'hint',
    ),
  );
  const rest = found.flatMap((group) => group.rest);
  if (found.length > 1)
    lead.append(
      button(
        `Keep the best of all ${found.length} groups, remove ${rest.length}`,
        () => void removePhotographs(rest),
      ),
    );
  return [lead, ...found.map((group) => section(index, group, onOpen))];
}

interface Group {
  readonly ids: readonly string[];
  readonly best: string;
  readonly rest: readonly string[];
}

function section(
  index: EmbeddingIndex,
  { ids, best, rest }: Group,
  onOpen: (id: string) => void,
): HTMLElement {
  const made = document.createElement('section');
  made.className = 'found-group';
  const heading = document.createElement('div');
  heading.className = 'lead-in';
  heading.append(
    text('h3', `${ids.length.toLocaleString('en')} alike`),
    button(`Keep best, remove ${others(rest.length)}`, () => void removePhotographs(rest)),
  );
  const center = index.vector(best);
  const tiles = [best, ...rest].map((id): Tile => {
    const metadata = index.metadata(id);
    return {
      id,
      metadata,
      score: id === best ? undefined : Math.min(1, dot(center, index.vector(id))),
      details: fileLines(metadata),
      badge: id === best ? 'best' : undefined,
    };
  });
  made.append(heading, tileList(tiles, onOpen));
  return made;
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** What is known of the file of a photograph: pixels and size in one line, and the date. */
export function fileLines(metadata: unknown): string[] {
  const file = fileOf(metadata);
  if (!file) return [];
  const { width, height, size, lastModified } = file;
  const pixels = width && height ? `${width} × ${height} · ` : '';
  const date = new Date(lastModified);
  return [
    `${pixels}${megabytes(size)}`,
    ...(Number.isNaN(date.getTime()) ? [] : [date.toISOString().slice(0, 10)]),
  ];
}
