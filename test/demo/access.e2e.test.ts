/**
 * Accessibility of the front page: no axe violations on any tab in light or dark mode, no overflow at 320
 * pixels, both pictures on the first screen, and a clear message without WebGPU.
 */
import { AxeBuilder } from '@axe-core/playwright';
import type { Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { done, give, openPage, openSite, openTiny, shiftsOf, toast, watchShifts, type Site } from './site.js';

let site: Site;
beforeAll(async () => void (site = await openSite()));
afterAll(() => site?.close());

async function violations(page: Page): Promise<string[]> {
  const { violations: found } = await new AxeBuilder({ page }).analyze();
  return found.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary}`),
  );
}

const overflow = (page: Page): Promise<number> =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

describe('with a model', () => {
  let page: Page;
  beforeAll(async () => {
    ({ page } = await openTiny(site, watchShifts));
    await page.locator('summary').click();
    await give(page, 'drop', { name: 'broken.png', bytes: new Uint8Array(8) });
    await toast(page, 'picture').waitFor();
  });
  afterAll(() => page.context().close());

  it('does not move while the model loads and the features are computed', async () => {
    const { sum, moved } = await shiftsOf(page);
    expect(sum, moved).toBeLessThanOrEqual(0.02);
  });

  it.each(['light', 'dark'] as const)('has no axe violations on any tab in %s mode', async (colorScheme) => {
    await page.emulateMedia({ colorScheme });
    for (const tab of await page.getByRole('tab').all()) {
      await tab.click();
      await done(page);
      expect(await violations(page)).toEqual([]);
    }
    await page.locator('#model-open').click();
    expect(await violations(page)).toEqual([]);
    await page.keyboard.press('Escape');
    await page.locator('#tab-pca').click();
  });

  it.each([320, 375, 768, 900, 1280, 2560])('fits into a width of %i pixels', async (width) => {
    await page.setViewportSize({ width, height: 800 });
    for (const tab of await page.getByRole('tab').all()) {
      await tab.click();
      expect(await overflow(page)).toBe(0);
    }
  });

  it.each([
    [390, 844],
    [1024, 768],
    [1440, 900],
  ])('shows the photograph and its features on the first screen of %i × %i', async (width, height) => {
    await page.setViewportSize({ width, height });
    await page.evaluate(() => scrollTo(0, 0));
    const bottoms = await page
      .locator('#map-frame, #photo-frame, #samples, #opacity')
      .evaluateAll((all) =>
        all.map((each) => each.getBoundingClientRect().bottom).filter((bottom) => bottom > 0),
      );
    expect(Math.max(...bottoms)).toBeLessThanOrEqual(height);
    expect(await page.locator('#photo-frame').isVisible()).toBe(width > 720);
  });

  it('has controls of at least 44 pixels on a phone', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    const small = await page
      .locator('button:visible, select:visible, .links a:visible, .pages a:visible, .samples label:visible')
      .evaluateAll((all) =>
        all
          .filter((each) => each.getBoundingClientRect().height < 44)
          .map((each) => each.id || each.textContent),
      );
    expect(small).toEqual([]);
  });

  it('runs no animation under prefers-reduced-motion', async () => {
    await page.emulateMedia({ reducedMotion: 'reduce' });
    await page.locator('#map-frame').evaluate((frame) => {
      frame.setAttribute('aria-busy', 'true');
      frame.querySelector('#map-status')!.textContent = 'busy';
    });
    const moving = await page.evaluate(
      () => document.getAnimations().filter(({ playState }) => playState === 'running').length,
    );
    expect(moving).toBe(0);
  });
});

it('does not move on a phone either, where a link opens the attention', async () => {
  const { page } = await openTiny(
    site,
    async (fresh) => {
      await fresh.setViewportSize({ width: 390, height: 844 });
      await watchShifts(fresh);
    },
    'demo/?photo=rocket&tab=attention&input=224&head=1',
  );
  await done(page, 'head 2 of');
  const { sum, moved } = await shiftsOf(page);
  expect(sum, moved).toBeLessThanOrEqual(0.02);
  await page.context().close();
});

describe('without WebGPU', () => {
  let page: Page;
  beforeAll(async () => {
    ({ page } = await openPage(site, (fresh) =>
      fresh.addInitScript(() => void Reflect.deleteProperty(Navigator.prototype, 'gpu')),
    ));
    await page.locator('#unsupported').waitFor();
  });
  afterAll(() => page.context().close());

  it('says what is missing and which browsers work, and shows recorded pictures', async () => {
    expect(await page.locator('#unsupported').innerText()).toMatch(
      /WebGPU[^]*WEBGPU_MISSING[^]*Chrome or Edge 113/,
    );
    const widths = await page.locator('#unsupported img').evaluateAll((all) =>
      Promise.all(
        all.map(async (each) => {
          const image = each as HTMLImageElement;
          image.loading = 'eager';
          await image.decode();
          return image.naturalWidth;
        }),
      ),
    );
    expect(widths.length).toBeGreaterThanOrEqual(3);
    expect(Math.min(...widths)).toBeGreaterThan(300);
    expect(await page.locator('.stage').isVisible()).toBe(false);
    expect(await page.locator('#model-name').innerText()).toBe('No WebGPU');
    expect(await page.locator('#loading').isVisible()).toBe(false);
    expect(await page.locator('#model-offer').isVisible()).toBe(false);
    expect(await page.locator('#model-open').isDisabled()).toBe(true); // no model can be chosen
    expect(await page.locator('#unsupported').innerText()).not.toContain('dinov2-webgpu/node');
  });

  it('says it again when weights are dropped', async () => {
    await give(page, 'drop', { name: 'any.safetensors', bytes: new Uint8Array(64) });
    await toast(page, 'model').waitFor();
    expect(await toast(page, 'model').innerText()).toMatch(/WEBGPU_MISSING/);
  });

  it('has no axe violations and fits into 320 pixels', async () => {
    expect(await violations(page)).toEqual([]);
    await page.setViewportSize({ width: 320, height: 640 });
    expect(await overflow(page)).toBe(0);
  });

  // This test needs a page that does not load a model again after a reload.
  it('takes its colours from the system, or light or dark ones, and remembers the choice', async () => {
    await page.emulateMedia({ colorScheme: 'light' });
    const background = (): Promise<string> =>
      page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const name = (): Promise<string | null> => page.locator('#theme').getAttribute('aria-label');
    const light = await background();
    expect(await name()).toBe('Colours: as the system');
    await page.locator('#theme').click();
    expect(await name()).toBe('Colours: light');
    await page.locator('#theme').click();
    expect(await name()).toBe('Colours: dark');
    const dark = await background();
    expect(dark).not.toBe(light);
    await page.reload();
    await expect.poll(background).toBe(dark);
    await page.locator('#theme').click();
    expect(await name()).toBe('Colours: as the system');
    await expect.poll(background).toBe(light);
    await page.emulateMedia({ colorScheme: 'dark' });
    await expect.poll(background).toBe(dark);
  });

  it('opens without a network after the first visit, like the other pages', async () => {
    await page.evaluate(() => navigator.serviceWorker.ready);
    await page.reload(); // from now on the service worker answers
    await page.context().setOffline(true);
    for (const path of ['demo/', 'demo/compare/', 'demo/search/', 'demo/runs/', 'demo/']) {
      await page.goto(`${site.origin}/${path}`);
      expect(await page.locator('.brand').innerText()).toMatch(/DINOv2/);
      expect(await page.locator('.pages [aria-current]').getAttribute('href')).toMatch(/\/$/);
      await page.locator('#unsupported').waitFor(); // its scripts run, too
    }
  });
});
