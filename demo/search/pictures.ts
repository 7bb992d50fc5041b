/**
 * The thumbnails of the collection, as object URLs. Each thumbnail is read once, when its image element comes
 * into view.
 */
import type { EmbeddingIndex } from '../../src/search.js';

let source: EmbeddingIndex | undefined;
/** Ratio of the sides from which a photograph is shown whole. */
const LONG = 2;
const urls = new Map<string, Promise<string | undefined>>();

/** Sets the index from which thumbnails are read. */
export function takeFrom(index: EmbeddingIndex | undefined): void {
  forget([...urls.keys()]);
  source = index;
}

export function urlOf(id: string): Promise<string | undefined> {
  let url = urls.get(id);
  if (!url) {
    url = (source?.thumbnail(id) ?? Promise.resolve(undefined)).then(
      (blob) => blob && URL.createObjectURL(blob),
    );
    url.catch(() => urls.delete(id));
    urls.set(id, url);
  }
  return url;
}

/** Discards the thumbnails of items that have been changed or removed. */
export function forget(ids: readonly string[]): void {
  for (const id of ids) {
    void urls.get(id)?.then(
      (url) => url && URL.revokeObjectURL(url),
      () => undefined,
    );
    urls.delete(id);
  }
}

const inView = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting || !(target instanceof HTMLImageElement)) continue;
      inView.unobserve(target);
      void show(target);
    }
  },
  { rootMargin: '400px' },
);

async function show(image: HTMLImageElement): Promise<void> {
  const url = await urlOf(image.dataset['id'] ?? '').catch(() => undefined);
  // A photograph that is much longer than wide is shown whole; any other fills its square cell.
  image.addEventListener('load', () => {
    const { naturalWidth: width, naturalHeight: height } = image;
    image.classList.toggle('long', Math.max(width, height) > LONG * Math.min(width, height));
  });
  if (url) image.src = url;
  else image.closest('.cell')?.classList.add('blank'); // the page shows the photograph's name instead
}

/** Makes an image element for an item. The item's thumbnail is loaded when the element comes into view. */
export function picture(id: string): HTMLImageElement {
  const image = document.createElement('img');
  image.alt = ''; // the label beside the image contains the name
  image.dataset['id'] = id;
  image.decoding = 'async';
  inView.observe(image);
  return image;
}
