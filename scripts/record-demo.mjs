// Records pictures of the demo: those that its pages show in browsers without WebGPU (demo/recorded/), and those
// of README.md (docs/). The weights are synthetic, so the colours show features that are not trained, unless
// `--trained` is given.
//
//   node scripts/record-demo.mjs [OPTIONS] [WORD]     WORD: only pictures whose name begins with it
//
//   --trained        downloads trained weights (facebook/dinov2-small) and records what they compute
//   --base-url URL   a mirror of the hub for --trained
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright';
import sharp from 'sharp';
import { createServer } from 'vite';
import { chromiumArgs, chromiumPath, fontsFile } from './software-gpu.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const PATIENCE_MS = 240_000;

const explored = (page) =>
  page.waitForFunction(
    () =>
      document.querySelector('#map-frame').getAttribute('aria-busy') === 'false' &&
      !document.querySelector('#map').hidden,
  );

const compared = (page) =>
  page.waitForFunction(
    () =>
      !document.querySelector('#main').hasAttribute('data-starting') &&
      /cosine|Point/.test(document.querySelector('#caption').textContent),
  );
const planned = (page) => page.locator('#facts dt').first().waitFor();

/** name: of the file. path: of the page. ready: waits for the page. select: the part of the page; default: the window. */
const pictures = [
  ...Object.entries({
    pca: 'photo=astronaut&input=322',
    similarity: 'photo=astronaut&input=322&tab=similarity&patch=14,5',
    attention: 'photo=astronaut&input=322&tab=attention',
    segments: 'photo=astronaut&input=322&tab=segments&on=14,5;17,4;18,10&off=3,16;2,2;17,19;6,8',
  }).map(([tab, query]) => ({
    name: `explore-${tab}`,
    path: `demo/?${query}`,
    ready: explored,
    select: '#panel',
  })),
  ...Object.entries({
    pca: '',
    similarity: '&tab=similarity&on=45,40',
    tracking: '&tab=tracking&region=3&on=45,40',
  }).map(([tab, query]) => ({
    name: `live-${tab}`,
    path: `demo/live/?side=322${query}`,
    ready: explored,
    select: '#panel',
  })),
  ...['matches', 'similarity'].map((tab) => ({
    name: `compare-${tab}`,
    path: `demo/compare/?tab=${tab}`,
    ready: compared,
    select: '#panel',
  })),
  { name: 'compare-light', path: 'demo/compare/', ready: compared },
  { name: 'live-light', path: 'demo/live/?side=224', ready: explored },
  { name: 'runs-light', path: 'demo/runs/', ready: planned },
  ...['light', 'dark'].map((colorScheme) => ({
    name: `demo-${colorScheme}`,
    path: 'demo/?photo=astronaut&input=322',
    ready: explored,
    colorScheme,
  })),
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { trained: { type: 'boolean' }, 'base-url': { type: 'string' } },
});
const [only = ''] = positionals;
const folder = mkdtempSync(join(tmpdir(), 'record-'));
const server = await createServer({ root, server: { port: 0 }, logLevel: 'error' });
await server.listen();
const executablePath = await chromiumPath();
const browser = await chromium.launch({
  executablePath,
  args: chromiumArgs,
  env: { ...process.env, FONTCONFIG_FILE: fontsFile(folder, executablePath) },
});
const context = await browser.newContext(); // one, so that all pages have the weights that the first one loads
context.setDefaultTimeout(PATIENCE_MS);
const mirror = values['base-url'];
if (mirror !== undefined)
  await context.route('https://huggingface.co/**', async (route) => {
    const { pathname } = new URL(route.request().url());
    await route.fulfill({ response: await route.fetch({ url: new URL(pathname, mirror).href }) });
  });
try {
  if (values.trained) {
    const page = await context.newPage();
    await page.goto(new URL('demo/', server.resolvedUrls.local[0]).href);
    await page.locator('#load-trained').click();
    await page.waitForFunction(() => localStorage.getItem('model')?.includes('"hub"'));
    await page.close();
  }
  for (const { name, path, ready, select, colorScheme = 'light' } of pictures) {
    if (!name.startsWith(only)) continue;
    const page = await context.newPage();
    await page.setViewportSize({ width: select ? 1180 : 1280, height: 800 });
    await page.emulateMedia({ colorScheme });
    await page.goto(new URL(path, server.resolvedUrls.local[0]).href);
    await ready(page).catch(async (error) => {
      throw new Error(`${name}: ${await page.locator('body').innerText()}`, { cause: error });
    });
    await page.evaluate(() => document.fonts.ready);
    if (select)
      await page.evaluate(() => {
        for (const caption of document.querySelectorAll('figcaption')) caption.hidden = true;
      });
    const shot = await (select ? page.locator(select) : page).screenshot();
    const file = select ? `demo/recorded/${name}.webp` : `docs/${name}.png`;
    const image = sharp(shot);
    await (select ? image.webp({ quality: 82 }) : image.png({ palette: true, effort: 10 })).toFile(
      join(root, file),
    );
    console.log(file);
    await page.close();
  }
} finally {
  await browser.close();
  await server.close();
  rmSync(folder, { recursive: true, force: true });
}
