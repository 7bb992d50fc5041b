/** The list of files that could not be added, with reasons. */
import type { IngestFailure } from '../../src/search.js';
import { byId, setText } from '../shared/dom.js';
import { nameOf } from './photos.js';
import { text } from './tiles.js';

const MOST_SHOWN = 500;

const section = byId('failures', HTMLElement);
const list = byId('failures-list', HTMLElement);

/**
 * The failure objects that the page shows. Several files can share one failure. `ingest` makes a new object
 * for a failure whenever another file is added to it, so a comparison with these objects shows which failures
 * have changed.
 */
let shown: IngestFailure[] = [];
/** Number of failures when the visitor dismissed the list. Further failures show it again. */
let dismissed = 0;

export function showFailures(failures: readonly IngestFailure[]): void {
  if (failures.length < shown.length || failures.length === 0) {
    list.replaceChildren();
    shown = [];
    dismissed = 0;
  }
  const files = failures.reduce((sum, { ids }) => sum + (ids?.length ?? 1), 0);
  section.hidden = files <= dismissed;
  setText(
    'failures-count',
    files === 1 ? '1 file could not be added' : `${files.toLocaleString('en')} files could not be added`,
  );
  section.dataset['files'] = String(files);
  for (let at = 0; at < Math.min(failures.length, MOST_SHOWN); at++) {
    const failure = failures[at]!;
    if (shown[at] === failure) continue;
    const { id, ids, error } = failure;
    const item = document.createElement('li');
    // Messages about an image begin with its name, which the item shows already.
    const { message } = error;
    const rest = [id, nameOf(id)].find((name) => message.startsWith(`${name}: `));
    item.append(
      ...(ids
        ? [message]
        : [text('b', id), ': ', rest === undefined ? message : message.slice(rest.length + 2)]),
    );
    const before = list.children.item(at);
    if (before) before.replaceWith(item);
    else list.append(item);
    shown[at] = failure;
  }
}

export function startFailures(): void {
  byId('failures-dismiss', HTMLButtonElement).addEventListener('click', () => {
    dismissed = Number(section.dataset['files'] ?? 0);
    section.hidden = true;
  });
}
