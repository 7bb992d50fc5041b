/** The row of photographs: the samples, and the visitor's own picture. */
import { byId, choose } from '../shared/dom.js';

const own = byId('own', HTMLElement);
const ownImage = byId('own-image', HTMLImageElement);
let ownPicture: { blob: Blob; name: string } | undefined;

export const isSample = (name: string): boolean =>
  document.querySelector(`input[name="sample"][value="${CSS.escape(name)}"]:not([value="own"])`) !== null;

/**
 * Reads a photograph of the row. The page has already shown the samples, so the browser reads them from its
 * cache.
 */
export async function readPhoto(name: string): Promise<{ blob: Blob; name: string }> {
  if (name === 'own' && ownPicture) return ownPicture;
  const image = document.querySelector<HTMLImageElement>(
    `input[name="sample"][value="${CSS.escape(name)}"] + img`,
  );
  if (!image) throw new Error(`There is no sample ${name}.`);
  const response = await fetch(image.src, { cache: 'force-cache' });
  if (!response.ok) throw new Error(`${image.alt}: the server answered ${response.status}.`);
  return { blob: await response.blob(), name };
}

/** Adds the visitor's picture to the row. Called after the picture has been decoded. */
export function keepOwn(blob: Blob, name: string): void {
  URL.revokeObjectURL(ownImage.src);
  ownImage.src = URL.createObjectURL(blob);
  ownImage.alt = `Your picture: ${name}`;
  ownPicture = { blob, name };
  own.hidden = false;
  choose('sample', 'own');
}
