// Markup in everything that a visitor can give to the pages: file names, tensor names and metadata of weights, the
// address, and the ids, metadata and model of a collection. The pages show it as text: no element is made of it, no
// script runs, and nothing is requested.
import { join } from 'node:path';
import type { Page } from 'playwright';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddingIndex } from '../../src/search.ts';
import { encodeSafetensors } from '../../src/safetensors.ts';
import { hostileNames } from './hostileNames.js';
import { fileOf, give, openPage, openSite, root, tiny, type Site } from './site.js';

const IMAGE = '<img src=x onerror=alert(1)>';
const SVG = '"><svg onload=alert(1)>';
const SCRIPT = '</script><script>alert(1)</script>';
const address = (names: readonly string[]): string =>
  names.map((name, i) => `${name}=${encodeURIComponent([IMAGE, SVG, SCRIPT][i % 3]!)}`).join('&');

let site: Site;
beforeAll(async () => void (site = await openSite()));
afterAll(() => site?.close());

/** What markup would have done. */
interface Done {
  alerts: number;
  blocked: string[];
}

/** Runs in the page before its scripts: counts alerts and violations of the policy, and refuses the first device. */
function watch(): void {
  const done: Done = { alerts: 0, blocked: [] };
  Object.assign(globalThis, { done, alert: () => void (done.alerts += 1) });
  addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
    done.blocked.push(`${violatedDirective} ${blockedURI}`),
  );
  const { requestDevice } = GPUAdapter.prototype;
  let refused = false; // so that the page does not load its default model, which takes long
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    if (refused) return requestDevice.call(this, descriptor);
    refused = true;
    throw new DOMException('not this time', 'OperationError');
  };
}

/** Weights whose names and metadata are markup. */
function hostileWeights(): Uint8Array {
  const data = new Uint8Array(4);
  const tensor = { dtype: 'F32', shape: [1], data } as const;
  return encodeSafetensors(
    new Map([
      [IMAGE, tensor],
      [`blocks.0.${SVG}`, tensor],
    ]) as never,
    new Map([
      ['format', SCRIPT],
      [IMAGE, SVG],
    ]),
  );
}

/** An exported collection of a model with a name of markup. */
async function hostileCollection(): Promise<Uint8Array> {
  const index = new EmbeddingIndex({
    dim: 128,
    device: 'cpu',
    model: { id: `${IMAGE} ${SCRIPT}`, fingerprint: '0'.repeat(64), preprocessing: SVG },
  });
  for (const [at, name] of hostileNames.entries())
    await index.add(
      name,
      Float32Array.from({ length: 128 }, (_, i) => Math.sin(at * 128 + i)),
      {
        name,
        [name]: name,
      },
    );
  return new Uint8Array(await (await index.export()).arrayBuffer());
}

const shows = (page: Page, text: string): Promise<unknown> =>
  page.waitForFunction((part) => document.body.innerText.includes(part), text);

const own: Record<string, (page: Page) => Promise<void>> = {
  'demo/': async (page) => {
    await give(page, 'drop', {
      ...fileOf(join(root, 'demo/photos/coffee.png'), 'image/png'),
      name: `${IMAGE}.png`,
    });
  },
  'demo/compare/': async (page) => {
    await page.locator('#file-a').setInputFiles({
      name: `${IMAGE}.png`,
      mimeType: 'image/png',
      buffer: Buffer.from(fileOf(join(root, 'demo/photos/coffee.png')).bytes),
    });
    await page.locator('#file-b').setInputFiles({
      name: `${SVG}.png`,
      mimeType: 'image/png',
      buffer: Buffer.from('no image'),
    });
  },
  'demo/live/': async (page) => {
    await page
      .locator('#video-file')
      .setInputFiles({ name: `${IMAGE}.mp4`, mimeType: 'video/mp4', buffer: Buffer.from('no video') });
    await shows(page, `${IMAGE}.mp4 could not be played`);
  },
  'demo/runs/': async (page) => {
    await give(page, 'drop', { name: `${IMAGE}.png`, type: 'image/png', bytes: Buffer.from('no image') });
    await shows(page, `${IMAGE}.png is not a .safetensors file`);
  },
  'demo/search/': async (page) => {
    await page.locator('#import-file').setInputFiles({
      name: `${IMAGE}.safetensors`,
      mimeType: 'application/octet-stream',
      buffer: Buffer.from(await hostileCollection()),
    });
    await shows(page, `${hostileNames.length} photographs`);
  },
};

test.each(Object.keys(own))('%s shows markup as text', async (path) => {
  const query = address(['photo', 'a', 'b', 'tab', 'patch', 'px', 'kernel', 'size', 'q', 'view', 'model']);
  const { page, requests } = await openPage(
    site,
    (fresh) => fresh.addInitScript(watch),
    `${path}?${query}#${encodeURIComponent(IMAGE)}`,
  );
  await page.waitForLoadState('load');
  const scripts = await page.locator('script').count();
  await page
    .locator('#model-line:not([data-state="starting"], [data-state="loading"]), #model-bar')
    .first()
    .waitFor({ state: 'attached' });
  await give(page, 'drop', { name: `${IMAGE}.safetensors`, bytes: hostileWeights() });
  await shows(page, IMAGE);
  await give(page, 'drop', { ...fileOf(join(tiny, 'model.safetensors')), name: `${SVG}.safetensors` });
  await shows(page, `${SVG}.safetensors`);
  await own[path]!(page);
  await page.waitForTimeout(500);
  const found = await page.evaluate(() => {
    const selectors =
      '[onerror], [onload], [onfocus], [ontoggle], iframe, base, math, img[src="x"], a[href^="javascript:"], meta[http-equiv="refresh"]';
    return {
      done: (globalThis as unknown as { done: Done }).done,
      elements: [...document.querySelectorAll(selectors)].map(({ outerHTML }) => outerHTML),
      scripts: document.querySelectorAll('script').length,
    };
  });
  expect(found).toEqual({ done: { alerts: 0, blocked: [] }, elements: [], scripts });
  expect(
    requests.filter(
      (url) =>
        !/^(blob|data):/.test(url) && (!url.startsWith(site.origin) || new URL(url).pathname.endsWith('/x')),
    ),
  ).toEqual([]);
  await page.context().close();
});
