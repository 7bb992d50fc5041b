/** Ways in for pictures and files: samples, a file dialog, a drop, a paste. */
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

/** The samples are images of the page, so a click asks the browser's cache and not the network. */
export async function sample(name: string): Promise<{ blob: Blob; name: string }> {
  if (name === 'own' && ownBlob) return { blob: ownBlob, name: ownName };
  const image = document.querySelector<HTMLImageElement>(`input[name="sample"][value="${name}"] + img`);
  if (!image) throw new Error(`No sample is called ${name}.`);
  const response = await fetch(image.src, { cache: 'force-cache' });
  if (!response.ok) throw new Error(`${image.alt}: the server answered ${response.status}.`);
  return { blob: await response.blob(), name };
}

/** Puts the visitor's picture beside the samples, once it is known to be one. */
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
    const picture = pictures[0] ?? (checkpoint ? undefined : files[0]); // of JSON it is said that it is no image
    if (checkpoint) onWeights(checkpoint);
    if (picture) onPicture(picture, picture.name);
  };

  for (const what of ['picture', 'weights']) {
    const input = byId(`${what}-file`, HTMLInputElement);
    byId(`choose-${what}`, HTMLButtonElement).addEventListener('click', () => input.click());
    input.addEventListener('change', () => {
      take([...(input.files ?? [])]);
      input.value = ''; // the same file may be chosen again
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
