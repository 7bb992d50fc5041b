/** Helpers for tests of the search page: adding photographs, and reading the results. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright';
import { fileOf, give, openPage, root, tiny, type Dropped, type Site, type Watched } from './site.js';

export const samples = ['astronaut.png', 'chelsea.png', 'coffee.png', 'rocket.jpg'] as const;

/** Opens the search page and waits until it is ready. */
export async function openSearch(site: Site, prepare?: (page: Page) => Promise<unknown>): Promise<Watched> {
  const watched = await openPage(site, prepare, 'demo/search/');
  await ready(watched.page);
  return watched;
}

/** Waits until the page has opened the stored collection and is not busy. */
export async function ready(page: Page): Promise<void> {
  await page.waitForFunction(() => document.querySelector('#main')!.getAttribute('aria-busy') === 'false');
}

/** Loads the tiny model from a dropped file. */
export async function loadTiny(page: Page, folder = tiny): Promise<void> {
  await give(page, 'drop', fileOf(join(folder, 'model.safetensors')));
  await page.locator('#running', { hasText: 'model.safetensors' }).waitFor({ state: 'attached' });
  await page.locator('#loading').waitFor({ state: 'hidden' });
}

export interface Variant {
  readonly of: (typeof samples)[number];
  readonly name: string;
  /** The part of the photograph to keep, as fractions of its sides. Default: all. */
  readonly crop?: {
    readonly left: number;
    readonly top: number;
    readonly width: number;
    readonly height: number;
  };
}

/** Makes JPEGs from the sample photographs in the browser: cropped, and scaled to at most 240 pixels. */
export async function make(page: Page, variants: readonly Variant[]): Promise<Dropped[]> {
  const asked = variants.map(({ of, crop = { left: 0, top: 0, width: 1, height: 1 } }) => ({
    base64: readFileSync(join(root, 'demo/photos', of)).toString('base64'),
    crop,
  }));
  const made = await page.evaluate(async (list) => {
    const out: string[] = [];
    for (const { base64, crop } of list) {
      const bitmap = await createImageBitmap(
        new Blob([Uint8Array.from(atob(base64), (each) => each.charCodeAt(0))]),
      );
      const [width, height] = [bitmap.width * crop.width, bitmap.height * crop.height];
      const scale = 240 / Math.max(width, height);
      const canvas = new OffscreenCanvas(Math.round(width * scale), Math.round(height * scale));
      canvas
        .getContext('2d')!
        .drawImage(
          bitmap,
          bitmap.width * crop.left,
          bitmap.height * crop.top,
          width,
          height,
          0,
          0,
          canvas.width,
          canvas.height,
        );
      const blob = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.8 });
      out.push(
        btoa(
          Array.from(new Uint8Array(await blob.arrayBuffer()), (byte) => String.fromCharCode(byte)).join(''),
        ),
      );
    }
    return out;
  }, asked);
  return made.map((base64, i) => ({
    name: variants[i]!.name,
    type: 'image/jpeg',
    bytes: Buffer.from(base64, 'base64'),
  }));
}

export const whole: readonly Variant[] = samples.map((of) => ({ of, name: of.replace(/\.\w+$/, '.jpg') }));
/** The sample photographs with a little cut from each side. */
export const cropped: readonly Variant[] = samples.map((of) => ({
  of,
  name: of.replace(/\.\w+$/, '-cropped.jpg'),
  crop: { left: 0.06, top: 0.05, width: 0.9, height: 0.88 },
}));

/** Images of 64 × 4 pixels with stripes: one row of 16 patches, which makes a forward cheap. */
export async function stripes(page: Page, names: readonly string[]): Promise<Dropped[]> {
  const made = await page.evaluate(async (count) => {
    const out: string[] = [];
    for (let i = 0; i < count; i++) {
      const canvas = new OffscreenCanvas(64, 4);
      const context = canvas.getContext('2d')!;
      for (let x = 0; x < 16; x++) {
        context.fillStyle = `hsl(${(i * 47 + x * (i + 3) * 11) % 360} 70% ${25 + ((x * (i + 1)) % 50)}%)`;
        context.fillRect(x * 4, 0, 4, 4);
      }
      const blob = await canvas.convertToBlob({ type: 'image/png' });
      out.push(
        btoa(
          Array.from(new Uint8Array(await blob.arrayBuffer()), (byte) => String.fromCharCode(byte)).join(''),
        ),
      );
    }
    return out;
  }, names.length);
  return made.map((base64, i) => ({
    name: names[i]!,
    type: 'image/png',
    bytes: Buffer.from(base64, 'base64'),
  }));
}

/** Waits until photographs are added, and returns the page's status. */
export async function added(page: Page): Promise<string> {
  // Reads the status in the same step as the wait, because later events replace it.
  const status = await page.waitForFunction(() => {
    const { textContent } = document.querySelector('#status')!;
    return (
      document.querySelector('#adding')!.hasAttribute('hidden') && /added/.test(textContent!) && textContent!
    );
  });
  return (await status.jsonValue()) as string;
}

/** Waits for search results and returns their names, best first. */
export async function found(page: Page, about: string): Promise<string[]> {
  // Not the status line: the view, which is computed at the same time, may replace its text.
  await page
    .locator(`#results[aria-busy="false"][aria-label=${JSON.stringify(`Results for ${about}`)}]`)
    .waitFor({ state: 'attached' });
  return page.locator('#results li:not([hidden]) .name').allTextContents();
}

export const shown = (page: Page): Promise<string[]> => page.locator('#view .tiles .name').allTextContents();

/** True if the opened photograph is shown from another blob than the thumbnail in its tile. */
export function showsOriginal(page: Page, name: string): Promise<boolean> {
  return page.evaluate((text) => {
    const tile = [...document.querySelectorAll('#view .tiles button')]
      .find((button) => button.textContent!.includes(text))!
      .querySelector('img')!;
    const image = document.querySelector<HTMLImageElement>('#query-image')!;
    return (
      image.naturalWidth > 0 &&
      image.src.startsWith('blob:') &&
      tile.src.startsWith('blob:') &&
      image.src !== tile.src
    );
  }, name);
}
