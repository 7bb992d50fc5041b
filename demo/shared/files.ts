/** Files that come into a page by a drop, by pasting, or from a file dialog. */
import { byId } from './dom.js';
import { shortName } from './format.js';
import { checkpointAmong, type CheckpointFiles } from './modelChoice.js';
import { dismiss, showMessage } from './toasts.js';

export interface FileActions {
  /** Called with the files that are no checkpoint. */
  onPictures(pictures: readonly File[]): void;
  /** Called with the files of a checkpoint. */
  onWeights(checkpoint: CheckpointFiles): void;
}

/**
 * Takes files that are dropped or pasted. While files are dragged over the window, `#drop` is shown.
 * @returns a function that takes files from elsewhere, such as a file dialog
 */
export function startFiles({ onPictures, onWeights }: FileActions): (files: readonly File[]) => void {
  const take = (files: readonly File[]): void => {
    const checkpoint = checkpointAmong(files);
    const pictures = files.filter(({ name }) => !/\.(json|safetensors)$/i.test(name));
    if (checkpoint) onWeights(checkpoint);
    // A JSON file without weights is passed on, and fails as a picture.
    const rest = pictures.length > 0 || checkpoint ? pictures : files;
    if (rest.length > 0) onPictures(rest);
  };
  const drop = byId('drop', HTMLElement);
  const hasFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes('Files') ?? false;
  addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    drop.hidden = false;
  });
  addEventListener('dragleave', ({ relatedTarget }) => {
    if (relatedTarget === null) drop.hidden = true; // the pointer left the window
  });
  addEventListener('drop', (event) => {
    drop.hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    take([...(event.dataTransfer?.files ?? [])]);
  });
  addEventListener('paste', ({ clipboardData }) => take([...(clipboardData?.files ?? [])]));
  return take;
}

/** Tells the visitor that the page uses only the first of the given files, if there are more. */
export function sayOnly(files: readonly File[], used: number): void {
  if (files.length <= used) return dismiss('several');
  const names = files.slice(0, used).map(({ name }) => shortName(name));
  showMessage(
    'several',
    `This page takes ${used === 1 ? 'one file' : `${used} files`} at a time.`,
    `It uses ${names.join(' and ')} of the ${files.length} files. The page Search takes whole folders.`,
  );
}

/** Makes a button open a file dialog. */
export function openFilesWith(
  button: HTMLButtonElement,
  input: HTMLInputElement,
  onFiles: (files: readonly File[]) => void,
): void {
  button.addEventListener('click', () => input.click());
  input.addEventListener('change', () => {
    const files = [...(input.files ?? [])];
    input.value = ''; // so that choosing the same file again fires `change` again
    if (files.length > 0) onFiles(files);
  });
}
