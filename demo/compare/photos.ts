/** The sample pictures, some of which the page makes from another sample, and the pairs to try. */
import { decode } from '../shared/picture.js';

interface Sample {
  readonly label: string;
  readonly url: string;
  /** What the page makes of the picture. */
  readonly change?: 'closer' | 'mirrored';
}

const urls = {
  chelsea: new URL('../photos/chelsea.png', import.meta.url).href,
  astronaut: new URL('../photos/astronaut.png', import.meta.url).href,
  coffee: new URL('../photos/coffee.png', import.meta.url).href,
  rocket: new URL('../photos/rocket.jpg', import.meta.url).href,
};

export const samples: Readonly<Record<string, Sample>> = {
  chelsea: { label: 'Cat', url: urls.chelsea },
  closer: { label: 'Cat, closer', url: urls.chelsea, change: 'closer' },
  mirrored: { label: 'Cat, mirrored', url: urls.chelsea, change: 'mirrored' },
  astronaut: { label: 'Astronaut', url: urls.astronaut },
  coffee: { label: 'Coffee', url: urls.coffee },
  rocket: { label: 'Rocket', url: urls.rocket },
};

export const pairs = [
  { a: 'chelsea', b: 'closer', label: 'A cat, closer' },
  { a: 'chelsea', b: 'mirrored', label: 'A cat, mirrored' },
  { a: 'chelsea', b: 'astronaut', label: 'Two faces' },
  { a: 'coffee', b: 'rocket', label: 'Nothing alike' },
] as const;

/** What the picture `closer` shows of the other, as shares of its sides. */
export const CLOSER = { left: 0.2, top: 0.1, size: 2 / 3 } as const;

/** Reads and decodes a sample. */
export async function readSample(name: string): Promise<{ name: string; bitmap: ImageBitmap }> {
  const sample = samples[name];
  if (!sample) throw new Error(`There is no sample ${name}.`);
  const response = await fetch(sample.url, { cache: 'force-cache' });
  if (!response.ok) throw new Error(`${sample.label}: the server answered ${response.status}.`);
  const bitmap = await decode(await response.blob(), undefined);
  return { name: sample.label, bitmap: sample.change ? await changed(bitmap, sample.change) : bitmap };
}

async function changed(bitmap: ImageBitmap, change: 'closer' | 'mirrored'): Promise<ImageBitmap> {
  const { width, height } = bitmap;
  const { left, top, size } = CLOSER;
  const [x, y] = [Math.round(left * width), Math.round(top * height)];
  const canvas =
    change === 'closer'
      ? new OffscreenCanvas(Math.round(size * width), Math.round(size * height))
      : new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d')!;
  if (change === 'mirrored') context.setTransform(-1, 0, 0, 1, width, 0);
  context.drawImage(bitmap, change === 'closer' ? -x : 0, change === 'closer' ? -y : 0);
  bitmap.close();
  return createImageBitmap(canvas);
}

/** A small picture of a sample for a button. */
export function thumbnail(name: string): HTMLElement {
  const { url, change } = samples[name]!;
  const frame = document.createElement('span');
  frame.className = 'thumb';
  const image = document.createElement('img');
  image.src = url;
  image.alt = '';
  image.width = image.height = 44;
  if (change) image.className = change;
  frame.append(image);
  return frame;
}
