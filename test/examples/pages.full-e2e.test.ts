// Every page of examples/, in Chromium, with the built library and tiny checkpoints in place of the hub's.
import { createServer, type Server } from 'node:http';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, BrowserContext, Page } from 'playwright';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { putBuild } from '../builds.ts';
import { openChromium } from '../chromium.ts';
import { recordVideo } from '../recordVideo.ts';
import { CLASSES, fakeHub, tinyCheckpoint } from './hub.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const photo = (name: string): string => join(root, 'demo/photos', name);
const [cat, cup, person] = ['chelsea.png', 'coffee.png', 'astronaut.png'].map(photo) as [
  string,
  string,
  string,
];

let folder: string;
let server: Server;
let url: string;
let browser: Browser;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'examples-'));
  await putBuild('library', join(folder, 'dist'));
  server = createServer((request, response) => {
    const path = new URL(request.url!, 'http://localhost').pathname;
    const library = /^\/node_modules\/dinov2-webgpu\/(dist\/[\w-]+\.js)$/.exec(path)?.[1];
    const page = /^\/[\w-]+\.html$/.test(path) ? join(root, 'examples', path) : undefined;
    if (library) response.setHeader('content-type', 'text/javascript');
    else if (page) response.setHeader('content-type', 'text/html');
    else return void response.writeHead(404).end();
    response.end(readFileSync(page ?? join(folder, library!)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  browser = await openChromium();
});

afterAll(async () => {
  await browser?.close();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

const covered = new Set<string>();

/** Opens an example, waits for its status, and checks at the end that the page reported no error. */
async function open(name: string, ready: RegExp, use: (page: Page) => Promise<void>): Promise<void> {
  covered.add(name);
  const context: BrowserContext = await browser.newContext({ permissions: ['camera'] });
  try {
    await fakeHub(context);
    const page = await context.newPage();
    page.setDefaultTimeout(60_000);
    const complaints: string[] = [];
    page.on('pageerror', (error) => void complaints.push(String(error)));
    page.on('console', (message) => void (message.type() === 'error' && complaints.push(message.text())));
    await page.goto(`${url}/${name}`);
    await says(page, ready);
    await use(page);
    expect(complaints.filter((text) => !/favicon|404/.test(text))).toEqual([]);
  } finally {
    await context.close();
  }
}

/** Waits until the status of the page is as expected. */
const says = (page: Page, text: RegExp): Promise<void> =>
  expect.poll(() => page.locator('#status').textContent(), { timeout: 60_000 }).toMatch(text);

/** Number of colours of a canvas as it is shown. */
async function colours(page: Page, selector: string): Promise<number> {
  const png = await page.locator(selector).first().screenshot();
  return page.evaluate(async (base64) => {
    const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${base64}`)).blob());
    const context = new OffscreenCanvas(image.width, image.height).getContext('2d')!;
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, image.width, image.height);
    return new Set(new Uint32Array(data.buffer)).size;
  }, png.toString('base64'));
}

test('pca.html', () =>
  open('pca.html', /^Choose a photograph/, async (page) => {
    await page.locator('input').setInputFiles(cat);
    await says(page, /^25 × 37 patches$/);
    expect(await colours(page, 'canvas')).toBeGreaterThan(50);
  }));

test('similarity.html', () =>
  open('similarity.html', /^Choose a photograph/, async (page) => {
    await page.locator('input').setInputFiles(cat);
    await says(page, /^Point at something/);
    const before = await colours(page, 'figure');
    await page.locator('img').hover(); // its centre
    await expect
      .poll(() =>
        page.locator('canvas').evaluate((canvas: HTMLCanvasElement) => [canvas.width, canvas.height]),
      )
      .toEqual([37, 25]);
    expect(await colours(page, 'figure')).not.toBe(before);
    // The patch under the pointer is the most similar one: yellow, the last colour of the map.
    const pixel = await page.locator('canvas').evaluate((canvas: HTMLCanvasElement) => {
      const { data } = canvas.getContext('2d')!.getImageData(18, 12, 1, 1);
      return [...data];
    });
    expect(pixel).toEqual([253, 231, 37, 255]);
  }));

test('live.html', () =>
  open('live.html', /^$/, async (page) => {
    await page.getByRole('button', { name: 'Start' }).click();
    await says(page, /^\d+\.\d frames per second$/);
    expect(await colours(page, '#camera')).toBeGreaterThan(5);
    expect(await colours(page, '#colours')).toBeGreaterThan(50);
    await page.getByRole('button', { name: 'Stop' }).click();
  }));

test('search.html', () =>
  open('search.html', /^0 photographs/, async (page) => {
    const photos = mkdtempSync(join(tmpdir(), 'photos-'));
    for (const path of [cat, cup, person])
      writeFileSync(join(photos, path.split('/').at(-1)!), readFileSync(path));
    await page.locator('input').setInputFiles(photos);
    await says(page, /^3 photographs added, 0 failed/);
    rmSync(photos, { recursive: true });
    await page.locator('img[alt$="chelsea.png"]').click();
    await says(page, /^\S+\.png \d\.\d\d, \S+\.png \d\.\d\d$/);
    expect(await page.locator('img').first().getAttribute('alt')).toMatch(/chelsea/);
    expect(await colours(page, 'img')).toBeGreaterThan(50);
    await page.reload();
    await says(page, /^3 photographs/); // they are kept
    expect(await page.locator('img').count()).toBe(3);
  }));

test('compare.html', () =>
  open('compare.html', /^Choose photographs/, async (page) => {
    await page.locator('input').setInputFiles([cat, cup, cat]);
    await says(page, /^Compared with the first: 0\.\d{3}, 1\.000$/);
  }));

test('correspondences.html', () =>
  open('correspondences.html', /^Choose two/, async (page) => {
    await page.locator('input').setInputFiles([cat, cat]);
    await says(page, /^40 pairs. The best has the cosine 1\.00/);
    expect(
      await page.locator('canvas').evaluate((canvas: HTMLCanvasElement) => [canvas.width, canvas.height]),
    ).toEqual([902, 300]);
    expect(await colours(page, 'canvas')).toBeGreaterThan(1000);
  }));

test('attention.html', () =>
  open('attention.html', /^Choose a photograph/, async (page) => {
    await page.locator('input').setInputFiles(cat);
    await says(page, /in 2 heads$/);
    expect(await page.locator('canvas').count()).toBe(2);
    expect(await colours(page, 'canvas')).toBeGreaterThan(20);
  }));

test('classify.html', () =>
  open('classify.html', /^Choose a photograph/, async (page) => {
    await page.locator('input').setInputFiles(cat);
    await says(page, /of 4 classes$/);
    const items = await page.locator('li').allTextContents();
    expect(items.map((item) => item.split(':')[0]).sort()).toEqual([...CLASSES].sort());
    expect(items[0]).toMatch(/^\w+: \d+\.\d %$/);
  }));

test('fine-tuned.html', () =>
  open('fine-tuned.html', /^Choose the files/, async (page) => {
    const files = [...tinyCheckpoint('tiny-plain', { classifier: true })];
    await page
      .locator('#checkpoint')
      .setInputFiles(files.map(([name, buffer]) => ({ name, buffer, mimeType: 'application/octet-stream' })));
    await says(page, /^4 classes: cat, cup, rocket, person/);
    await page.locator('#photos').setInputFiles([cat, cup]);
    await page.locator('li').nth(1).waitFor();
    expect(await page.locator('li').first().textContent()).toMatch(/^chelsea\.png: \w+, \d+\.\d %$/);
  }));

test('worker.html', () =>
  open('worker.html', /^Choose photographs/, async (page) => {
    await page.locator('input').setInputFiles([cat, cup, person, cat]);
    await says(page, /^4 photographs/);
    const names = await page.locator('img').evaluateAll((all) => all.map((each) => each.getAttribute('alt')));
    expect(names.slice(0, 2)).toEqual(['chelsea.png', 'chelsea.png']);
    expect(await page.locator('progress').evaluate((bar: HTMLProgressElement) => bar.position)).toBe(1);
  }));

test('video.html', () =>
  open('video.html', /^Choose a video/, async (page) => {
    const buffer = await recordVideo(page, 320, 240);
    await page.locator('input').setInputFiles({ name: 'square.webm', mimeType: 'video/webm', buffer });
    await says(page, /^Click an object/);
    await page.locator('video').click({ position: { x: 260, y: 220 } });
    await says(page, /^Following/);
    await expect.poll(() => colours(page, 'canvas'), { timeout: 60_000 }).toBeGreaterThan(20);
  }));

test('own-device.html', () =>
  open('own-device.html', /^Choose a photograph/, async (page) => {
    await page.locator('input').setInputFiles(cat);
    await says(page, /^Click another part/);
    await page.locator('canvas').click({ position: { x: 100, y: 400 } });
    await expect.poll(() => colours(page, 'canvas'), { timeout: 60_000 }).toBeGreaterThan(1000);
  }));

test('every page of examples/ is tested', () => {
  const pages = readdirSync(join(root, 'examples')).filter((name) => name.endsWith('.html'));
  expect([...covered].sort()).toEqual(pages.sort());
});
