/** Removes photographs from the collection, never from the disk, and puts them back. */
import { showError, showMessage } from '../shared/toasts.js';
import { shortName } from '../shared/format.js';
import { exported } from './about.js';
import { collection } from './collection.js';
import { count, nameOf } from './photos.js';

/** Removes photographs, and shows a message with which the visitor can put them back. */
export async function removePhotographs(ids: readonly string[]): Promise<void> {
  const index = collection();
  const present = ids.filter((id) => index?.has(id));
  if (!index || present.length === 0) return;
  try {
    const { file } = await exported(index, present); // with vectors, patches and thumbnails, for Undo
    await index.remove(present);
    showMessage(
      'removed',
      `${present.length === 1 ? shortName(nameOf(present[0]!)) : count(present.length)} removed from the collection.`,
      'The files on your disk are not changed.',
      { text: 'Undo', run: () => void putBack(file) },
    );
  } catch (error) {
    showError('removed', 'The photographs could not be removed.', error);
  }
}

async function putBack(file: Blob): Promise<void> {
  try {
    const index = collection();
    if (!index)
      throw new Error('The collection was deleted. Import an export of it, or add the photographs again.');
    await index.importFrom(file);
  } catch (error) {
    showError('removed', 'The photographs could not be put back.', error);
  }
}
