/**
 * Weights from the Hub in the demo, and failures: no response, a wrong response, cancellation, and a lost
 * GPU.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page, Route } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLASSES, tinyCheckpoint } from '../examples/hub.ts';
import { facebookPreprocessor } from '../loading/preprocessors.ts';
import {
  colours,
  done,
  give,
  loadTiny,
  PATIENCE_MS,
  openPage,
  openSite,
  openTiny,
  tiny,
  toast,
  type Site,
  type Watched,
} from './site.js';

let site: Site;
/** One page for all tests of this file, which run in order. */
let watched: Watched;
let page: Page;
let answer: (route: Route) => Promise<void> = (route) => route.abort();
const asked: string[] = [];
beforeAll(async () => {
  site = await openSite();
  watched = await openTiny(site, async (fresh) => {
    await fresh.route(/^https:/, (route) => {
      asked.push(route.request().url());
      return answer(route);
    });
    await fresh.addInitScript(() => {
      const { requestDevice } = GPUAdapter.prototype;
      GPUAdapter.prototype.requestDevice = async function (descriptor) {
        return ((globalThis as { device?: GPUDevice }).device = await requestDevice.call(this, descriptor));
      };
    });
  });
  page = watched.page;
});
afterAll(() => site?.close());

const text = (page: Page, id: string): Promise<string> => page.locator(`#${id}`).innerText();

async function chooseTrained(page: Page): Promise<void> {
  await page.locator('#model-open').click();
  await page.locator('input[value="hub"]').check();
  await page.locator('#load').click();
}

describe('weights from the Hub', () => {
  it('are not requested before the button is pressed; the button shows their size', async () => {
    await page.locator('#model-open').click();
    await page.locator('input[value="hub"]').check();
    expect(await text(page, 'load')).toBe('Download ViT-S (88 MB)');
    await page.locator('input[value="base"]').check();
    expect(await text(page, 'load')).toBe('Download ViT-B (346 MB)');
    await page.locator('input[value="small"]').check();
    await page.keyboard.press('Escape');
    expect(asked).toEqual([]);
  });

  it('can be cancelled at once', async () => {
    const waiting: Route[] = [];
    answer = async (route) => {
      if (route.request().url().endsWith('config.json')) await fulfill(route);
      else waiting.push(route); // never respond
    };
    await chooseTrained(page);
    await page.locator('#loading').waitFor();
    await expect.poll(() => waiting.length).toBe(1);
    // Measures in the page, from its click on. Counting timer ticks leaves out time in which the system
    // suspends the page or this test.
    await page.evaluate(() => {
      const loading = document.querySelector<HTMLElement>('#loading')!;
      const begin = (): void => {
        let ms = 0;
        const clock = setInterval(() => (ms += 10), 10);
        new MutationObserver((_, observer) => {
          if (!loading.hidden) return;
          observer.disconnect();
          clearInterval(clock);
          Object.assign(globalThis, { cancelledMs: ms });
        }).observe(loading, { attributes: true });
      };
      document.querySelector('#cancel')!.addEventListener('click', begin, { capture: true, once: true });
    });
    await page.locator('#cancel').click();
    await page.locator('#loading').waitFor({ state: 'hidden' });
    expect(await page.evaluate(() => (globalThis as { cancelledMs?: number }).cancelledMs)).toBeLessThan(
      2000,
    );
    expect(await text(page, 'model-name')).toBe('model.safetensors');
    expect(await text(page, 'model-weights')).toBe('your file');
    expect(await page.locator('input[value="file"]').isChecked()).toBe(true);
  });

  it('that are missing: the page reports the error', async () => {
    answer = (route) =>
      route.fulfill({ status: 404, headers: { 'access-control-allow-origin': '*' }, body: 'Not found' });
    await chooseTrained(page);
    await toast(page, 'model').waitFor();
    expect(await toast(page, 'model').innerText()).toMatch(
      /^ViT-S could not be loaded\.[^]*SOURCE_FETCH[^]*404/,
    );
  });

  it('without a network: the page reports the error and offers another try', async () => {
    answer = (route) => route.abort('internetdisconnected');
    await toast(page, 'model').getByRole('button', { name: 'Try again' }).click();
    await expect
      .poll(() =>
        toast(page, 'model')
          .innerText()
          .catch(() => ''),
      )
      .toMatch(/SOURCE_FETCH/);
    expect(await toast(page, 'model').innerText()).not.toMatch(/404/);
    await page.locator('input[value="rocket"]').check();
    await done(page, 'rocket'); // the previous model still works
  });

  it('load with a progress display, and are labelled as trained', async () => {
    await page.evaluate(() => {
      const bytes = document.querySelector('#loading-bytes')!;
      new MutationObserver(() =>
        ((globalThis as { seen?: string[] }).seen ??= []).push(bytes.textContent!),
      ).observe(bytes, { childList: true });
    });
    const before = await colours(page, 'map');
    answer = fulfill;
    asked.length = 0;
    await toast(page, 'model').getByRole('button', { name: 'Try again' }).click();
    await page.locator('#model-weights', { hasText: /^trained$/ }).waitFor();
    await done(page, 'rocket');
    expect(asked.sort()).toEqual(
      ['config.json', 'model.safetensors', 'preprocessor_config.json'].map(
        (file) => `https://huggingface.co/facebook/dinov2-small/resolve/main/${file}`,
      ),
    );
    expect((await page.evaluate(() => (globalThis as { seen?: string[] }).seen ?? [])).join()).toMatch(
      /1\.9 MB/,
    );
    expect(await toast(page, 'model').count()).toBe(0);
    expect(await page.locator('#model-offer').isVisible()).toBe(false);
    expect((await colours(page, 'map')).text).toBe(before.text); // the same tiny weights
    expect(await page.locator('#code').textContent()).toContain(
      "DINOv2.fromPretrained('facebook/dinov2-small')",
    );
  });

  it('come from the cache by themselves on the next visit', async () => {
    const before = await colours(page, 'map');
    await page.reload();
    await page.locator('#model-weights', { hasText: /^trained$/ }).waitFor();
    await done(page, 'rocket');
    expect(await text(page, 'model-name')).toBe('ViT-S');
    expect((await colours(page, 'map')).text).toBe(before.text);
    expect(await page.locator('#model-offer').isVisible()).toBe(false);
  });

  it('came from the Hub; no other origin was requested', () => {
    expect(
      watched.requests.filter(
        (url) => !/^blob:|^https:\/\/huggingface\.co\//.test(url) && !url.startsWith(site.origin),
      ),
    ).toEqual([]);
    expect(watched.complaints.filter((text_) => !/Failed to load resource/.test(text_))).toEqual([]);
  });

  const fulfill = (route: Route): Promise<void> => {
    const file = route.request().url().split('/').at(-1)!;
    return route.fulfill({
      status: 200,
      headers: { 'access-control-allow-origin': '*' },
      contentType: file.endsWith('json') ? 'application/json' : 'application/octet-stream',
      body: file === 'preprocessor_config.json' ? facebookPreprocessor : readFileSync(join(tiny, file)),
    });
  };
});

// The Chromium of these tests has no camera. The tests replace getUserMedia by a refusal and by the stream of
// a canvas.
describe('the camera', () => {
  it('reports that the permission was denied', async () => {
    await page.evaluate(() => {
      MediaDevices.prototype.getUserMedia = () =>
        Promise.reject(new DOMException('Permission denied', 'NotAllowedError'));
    });
    await page.locator('#camera').click();
    await toast(page, 'camera').waitFor();
    expect(await toast(page, 'camera').innerText()).toMatch(/NotAllowedError[^]*Allow the camera/);
    expect(await page.locator('#camera-dialog').isVisible()).toBe(false);
  });

  it('takes a picture, and is then switched off', async () => {
    await page.evaluate(() => {
      const canvas = document.createElement('canvas');
      canvas.width = 320;
      canvas.height = 240;
      MediaDevices.prototype.getUserMedia = () => {
        const context = canvas.getContext('2d')!;
        setInterval(() => {
          for (let i = 0; i < 60; i++) {
            context.fillStyle = `hsl(${i * 37} 80% ${20 + i}%)`;
            context.fillRect((i % 10) * 32, Math.floor(i / 10) * 40, 32, 40);
          }
        }, 50);
        return Promise.resolve(((globalThis as { stream?: MediaStream }).stream = canvas.captureStream(20)));
      };
    });
    await page.locator('#camera').click();
    await page.locator('#camera-take:enabled').click();
    await done(page, 'of camera');
    expect((await colours(page, 'photo')).distinct).toBeGreaterThan(10);
    expect(await text(page, 'photo-caption')).toMatch(/of 320 × 240$/);
    expect(
      await page.evaluate(() =>
        (globalThis as { stream?: MediaStream }).stream!.getTracks().map(({ readyState }) => readyState),
      ),
    ).toEqual(['ended']);
  });
});

describe('a lost GPU', () => {
  it('costs nothing: the page shows the same picture again. After a third loss in a minute, it asks first', async () => {
    await loadTiny(page);
    const before = await colours(page, 'map');
    const lose = (): Promise<void> =>
      page.evaluate(() => (globalThis as { device?: GPUDevice }).device!.destroy());
    for (let loss = 0; loss < 2; loss++) {
      await lose();
      await page.locator('#map').waitFor({ state: 'hidden' });
      await page.locator('#map').waitFor();
      await done(page);
      expect((await colours(page, 'map')).text).toBe(before.text);
    }
    await lose();
    await toast(page, 'model').waitFor();
    expect(await toast(page, 'model').innerText()).toMatch(/DEVICE_LOST/);
    expect(await page.locator('#map').isVisible()).toBe(false);
    await toast(page, 'model').getByRole('button', { name: 'Load the model again' }).click();
    await page.locator('#map').waitFor();
    await done(page);
    expect((await colours(page, 'map')).text).toBe(before.text);
  });
});

it('a checkpoint with a classifier shows the classes of each picture', async () => {
  const rows = page.locator('#classes-list li');
  expect(await page.locator('#classes').isVisible()).toBe(false);
  const files = tinyCheckpoint('tiny-plain', { classifier: true });
  await give(
    page,
    'drop',
    ...['model.safetensors', 'config.json'].map((name) => ({ name, bytes: files.get(name)! })),
  );
  await expect.poll(() => rows.count(), { timeout: PATIENCE_MS }).toBe(CLASSES.length);
  const shown = async (): Promise<(string | undefined)[][]> =>
    (await rows.allInnerTexts()).map((row) => row.split(/\n+/).map((part) => part.trim()));
  const first = await shown();
  expect(first.map(([label]) => label).sort()).toEqual([...CLASSES].sort());
  const percents = first.map(([, score]) => Number(score!.replace(' %', '')));
  expect(percents).toEqual([...percents].sort((a, b) => b - a));
  expect(percents.reduce((sum, each) => sum + each, 0)).toBeCloseTo(100, 0);
  expect(await page.locator('#code').textContent()).toContain(
    "model.classifier.classify(image, { orientation: 'respect', topK: 5 })",
  );
  await page.locator('input[value="chelsea"]').check();
  await expect.poll(() => page.locator('#classes-status').innerText()).toMatch(/^chelsea: /);
  expect(await shown()).not.toEqual(first);
  await loadTiny(page); // a model without a classifier
  expect(await page.locator('#classes').isVisible()).toBe(false);
});

it.each(['demo/', 'demo/compare/', 'demo/live/'])(
  'after a load that failed, %s says that there is no model',
  async (path) => {
    const { page } = await openPage(
      site,
      (fresh) =>
        fresh.addInitScript(() => {
          GPUAdapter.prototype.requestDevice = () =>
            Promise.reject(new DOMException('never', 'OperationError'));
        }),
      path,
    );
    await toast(page, 'model').waitFor();
    await page.getByText('No model is loaded').first().waitFor();
    expect(await page.locator('[aria-busy="true"]').count()).toBe(0);
    expect(await page.locator('body').innerText()).not.toContain('Loading the model');
    await page.context().close();
  },
);
