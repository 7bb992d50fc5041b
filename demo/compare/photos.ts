/** The sample pictures, some of which the page makes from another sample, and the pairs to try. */
import { decode } from '../shared/picture.js';

interface Sample {
  readonly label: string;
  readonly url: string;
  /** The part of the photograph that the picture shows, in pixels. Default: the whole photograph. */
  readonly cut?: readonly [left: number, top: number, width: number, height: number];
}

/** Two pictures to try. */
export interface Pair {
  readonly a: string;
  readonly b: string;
  readonly label: string;
  /** What the visitor should look for. */
  readonly about: string;
}

const urls = {
  chelsea: new URL('../photos/chelsea.png', import.meta.url).href,
  astronaut: new URL('../photos/astronaut.png', import.meta.url).href,
  coffee: new URL('../photos/coffee.png', import.meta.url).href,
  rocket: new URL('../photos/rocket.jpg', import.meta.url).href,
};

export const samples: Readonly<Record<string, Sample>> = {
  // At 224, 336 and 448 pixels, these two cuts are a whole number of patches apart.
  left: { label: 'Cat, left part', url: urls.chelsea, cut: [0, 0, 336, 252] },
  right: { label: 'Cat, right part', url: urls.chelsea, cut: [84, 42, 336, 252] },
  chelsea: { label: 'Cat', url: urls.chelsea },
  closer: { label: 'Cat, closer', url: urls.chelsea, cut: [90, 30, 301, 200] },
  astronaut: { label: 'Astronaut', url: urls.astronaut },
  coffee: { label: 'Coffee', url: urls.coffee },
  rocket: { label: 'Rocket', url: urls.rocket },
};

export const pairs: readonly [Pair, ...Pair[]] = [
  {
    a: 'left',
    b: 'right',
    label: 'A cat, moved',
    about: 'B is cut from the same photograph as A, shifted: correct lines are parallel.',
  },
  {
    a: 'chelsea',
    b: 'closer',
    label: 'A cat, closer',
    about: 'B is an enlarged part of A: correct lines spread apart.',
  },
  {
    a: 'chelsea',
    b: 'astronaut',
    label: 'Two faces',
    about: 'With trained weights, see which patches the eyes match.',
  },
  {
    a: 'coffee',
    b: 'rocket',
    label: 'Nothing alike',
    about: 'Compare the scores with those of the other pairs.',
  },
];

/** Reads and decodes a sample. */
export async function readSample(name: string): Promise<{ name: string; bitmap: ImageBitmap }> {
  const sample = samples[name];
  if (!sample) throw new Error(`There is no sample ${name}.`);
  const response = await fetch(sample.url, { cache: 'force-cache' });
  if (!response.ok) throw new Error(`${sample.label}: the server answered ${response.status}.`);
  const bitmap = await decode(await response.blob(), undefined);
  if (!sample.cut) return { name: sample.label, bitmap };
  const cut = await createImageBitmap(bitmap, ...sample.cut);
  bitmap.close();
  return { name: sample.label, bitmap: cut };
}

/** A small picture of a sample for a button. */
export function thumbnail(name: string): HTMLElement {
  const { url, cut } = samples[name]!;
  const frame = document.createElement('span');
  frame.className = 'thumb';
  const image = document.createElement('img');
  image.src = url;
  image.alt = '';
  image.width = image.height = 44;
  if (cut) image.className = name;
  frame.append(image);
  return frame;
}
