// Pixels of every image fixture in Firefox, compared with Pillow.
import type { Page } from 'puppeteer-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openFirefox, type Firefox } from './browser.ts';

let firefox: Firefox;
let page: Page;

beforeAll(async () => {
  firefox = await openFirefox();
  page = firefox.page;
});
afterAll(() => firefox?.close());

/** Firefox 153 upsamples the chroma of an AVIF differently from Pillow; see the table in docs/guide/parity.md. */
const avif = { '420.avif.rgb': { bytes: expect.any(Number) as number, most: 8 } };

test.each(['Blob', 'URL'] as const)(
  "every file, as %s: Pillow's bytes, with and without its Exif orientation",
  async (kind) => {
    expect(await page.evaluate((each) => globalThis.actions.files(each), kind)).toEqual(avif);
  },
);

test('every file in a worker', async () => {
  expect(await page.evaluate(() => globalThis.actions.filesInWorker())).toEqual(avif);
});

test('every file as <img>: only files with transparency, 16 bits, AVIF or rotated WebP may differ', async () => {
  const found = await page.evaluate(() => globalThis.actions.files('element'));
  expect(
    Object.keys(found).filter((name) => !/alpha|rgba|transparency|16|\.avif|exif\d\.webp/.test(name)),
  ).toEqual([]);
  for (const name of ['rgb16.png.rgb', 'rgb16-interlaced.png.rgb'])
    expect(found[name]).toMatchObject({ most: 1 });
});

test.each(['Blob', 'URL', 'element'] as const)(
  'photographs, as %s: 0 of 150,528 floats differ',
  async (kind) => {
    expect(await page.evaluate((each) => globalThis.actions.photographs(each), kind)).toEqual({});
  },
);

test('PNG of every colour type, bit depth and interlacing', async () => {
  expect(await page.evaluate(() => globalThis.actions.pngs())).toEqual({});
});

test('noise images of every size', async () => {
  expect(await page.evaluate(() => globalThis.actions.sizes())).toEqual([]);
});

test("images larger than a texture: Pillow's pixels", async () => {
  expect(await page.evaluate(() => globalThis.actions.large())).toEqual([]);
});

test("awkward files: Pillow's pixels, or an error where Pillow raises one", async () => {
  expect(await page.evaluate(() => globalThis.actions.awkward())).toEqual({});
});

test('awkward files in a worker', async () => {
  expect(await page.evaluate(() => globalThis.actions.awkwardInWorker())).toEqual({});
});

test('AVIF with subsampled chroma: the differences listed in docs/guide/parity.md', async () => {
  const found = await page.evaluate(() => globalThis.actions.avifs());
  const most = Object.fromEntries(
    Object.entries(found).map(([name, away]) => [name, typeof away === 'string' ? away : away.most]),
  );
  expect(most).toEqual({
    'chequers-420.avif': 113,
    'chequers-422.avif': 76,
    'photograph-420.avif': 10,
    'photograph-422.avif': 9,
    'waves-420.avif': 4,
    'waves-422.avif': 2,
  });
});

test('Blobs made of several parts', async () => {
  expect(await page.evaluate(() => globalThis.actions.blobsOfParts())).toEqual([]);
});
