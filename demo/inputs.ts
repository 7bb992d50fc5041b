/** The ways in which pictures and weights come into the page: samples, file dialogs, drop and paste. */
import { byId, choose } from './dom.js';
import { checkpointAmong, type CheckpointFiles } from './state.js';

export interface Inputs {
  onPicture(blob: Blob, name: string): void;
  onWeights(checkpoint: CheckpointFiles): void;
}

const own = byId('own', HTMLElement);
const ownImage = byId('own-image', HTMLImageElement);
let ownBlob: Blob | undefined;
let ownName = '';

/**
 * Reads a sample picture. The page has already shown the samples, so the browser reads them from its cache.
 */
export async function sample(name: string): Promise<{ blob: Blob; name: string }> {
  if (name === 'own' && ownBlob) return { blob: ownBlob, name: ownName };
  const image = document.querySelector<HTMLImageElement>(`input[name="sample"][value="${name}"] + img`);
  if (!image) throw new Error(`There is no sample ${name}.`);
  const response = await fetch(image.src, { cache: 'force-cache' });
  if (!response.ok) throw new Error(`${image.alt}: the server answered ${response.status}.`);
  return { blob: await response.blob(), name };
}

/** Adds the visitor's picture to the samples. Called after the picture has been decoded. */
export function keepOwn(blob: Blob, name: string): void {
  URL.revokeObjectURL(ownImage.src);
  ownImage.src = URL.createObjectURL(blob);
  ownImage.alt = `Your picture: ${name}`;
  ownBlob = blob;
  ownName = name;
  own.hidden = false;
  choose('sample', 'own');
}

export function startInputs({ onPicture, onWeights }: Inputs): void {
  const take = (files: readonly File[]): void => {
    const checkpoint = checkpointAmong(files);
    const pictures = files.filter(({ name }) => !/\.(json|safetensors)$/i.test(name));
    // A JSON file without weights is passed on, and fails as a picture.
    const picture = pictures[0] ?? (checkpoint ? undefined : files[0]);
    if (checkpoint) onWeights(checkpoint);
    if (picture) onPicture(picture, picture.name);
  };

  for (const what of ['picture', 'weights']) {
    const input = byId(`${what}-file`, HTMLInputElement);
    byId(`choose-${what}`, HTMLButtonElement).addEventListener('click', () => input.click());
    input.addEventListener('change', () => {
      take([...(input.files ?? [])]);
      input.value = ''; // so that choosing the same file again fires `change` again
    });
  }

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
}
