// Builds the projects of examples/ with the packed library, and tries their pages in Chromium with a photograph.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { copyProject, installTarball, root, runNpm } from './package.mjs';
import { answerHub, bytesOf, serveFolder } from './site.mjs';

/** The projects, each with what its page says when the photograph is computed. */
export const EXAMPLES = {
  react: /^25 × 37 patches\./,
  svelte: /^Point at something/,
  three: /^25 × 37 patches/,
};

/** 451 × 300 pixels. */
const photo = join(root, 'demo/photos/chelsea.png');

/**
 * Copies a project into an empty folder, installs it, builds it, and chooses a photograph on its page.
 * @param options `shots`: a folder for pictures of the page at 390 and 1440 pixels
 * @returns `{ build, page, bytes, gzipBytes }`: `ok` or an error for each step; bytes of all built scripts
 */
export async function tryExample(name, { tarball, browser, into, shots }) {
  const project = join(into, name);
  const result = {};
  let server;
  try {
    copyProject(join(root, 'examples', name), project);
    installTarball(tarball, project);
    runNpm(['run', 'build'], project);
    Object.assign(result, bytesOf(join(project, 'dist')), { build: 'ok' });
    server = await serveFolder(join(project, 'dist'));
    result.page = await look(name, { browser, url: server.url, shots });
  } catch (error) {
    result[result.build === undefined ? 'build' : 'page'] = error.message;
  } finally {
    server?.close();
    rmSync(project, { recursive: true, force: true });
  }
  return result;
}

/** Chooses a photograph and points at it. Returns `ok`, or what went wrong. */
async function look(name, { browser, url, shots }) {
  const context = await browser.newContext();
  try {
    await answerHub(context);
    const page = await context.newPage();
    page.setDefaultTimeout(90_000);
    const errors = [];
    page.on('pageerror', (error) => errors.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error' && !/favicon|404/.test(message.text())) errors.push(message.text());
    });
    await page.goto(`${url}/`);
    const says = async (text) => {
      try {
        await page.locator('#status').filter({ hasText: text }).waitFor();
      } catch (error) {
        const body = await page.locator('body').textContent();
        throw new Error(`the page says: ${[body, ...errors].join(' ')}`, { cause: error });
      }
    };
    await says(/^Choose a photograph/);
    await page.locator('input').setInputFiles(photo);
    await says(EXAMPLES[name]);
    const picture = page.locator('canvas');
    const { width, height } = await picture.boundingBox();
    await page.mouse.move(0, 0);
    await picture.hover({ position: { x: width * 0.45, y: height * 0.5 }, force: true });
    const found = await coloursWithin(page, picture);
    if (shots !== undefined)
      for (const width of [390, 1440]) {
        await page.setViewportSize({ width, height: 900 });
        await page.screenshot({ path: join(shots, `${name}-${width}.png`) });
      }
    if (errors.length > 0) return errors.join(' ');
    return found > 50 ? 'ok' : `the picture has ${found} colours, expected more than 50`;
  } finally {
    await context.close();
  }
}

/** Number of colours of an element as it is shown. Waits up to 20 s for more than 50. */
async function coloursWithin(page, element) {
  for (let tries = 0; ; tries += 1) {
    const png = await element.screenshot();
    const count = await page.evaluate(async (base64) => {
      const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${base64}`)).blob());
      const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
      context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, image.width, image.height);
      return new Set(new Uint32Array(data.buffer)).size;
    }, png.toString('base64'));
    if (count > 50 || tries === 40) return count;
    await page.waitForTimeout(500);
  }
}
