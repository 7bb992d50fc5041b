/**
 * Accessibility of the demo: no axe violations in light or dark mode, no overflow at 320 pixels, and a clear
 * message without WebGPU.
 */
import { AxeBuilder } from '@axe-core/playwright';
import type { Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { colours, give, notice, openPage, openSite, openTiny, type Site } from './site.js';

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
    ({ page } = await openTiny(site));
    for (const summary of await page.locator('summary').all()) await summary.click();
    await give(page, 'drop', { name: 'broken.png', bytes: new Uint8Array(8) });
    await notice(page, 'picture').waitFor();
  });
  afterAll(() => page.context().close());

  it.each(['light', 'dark'] as const)('has no axe violations in %s mode', async (colorScheme) => {
    await page.emulateMedia({ colorScheme });
    expect(await violations(page)).toEqual([]);
  });

  it.each([320, 375, 768, 900, 1280, 2560])('fits into a width of %i pixels', async (width) => {
    await page.setViewportSize({ width, height: 800 });
    expect(await overflow(page)).toBe(0);
  });

  it('runs no animation under prefers-reduced-motion', async () => {
    await page.emulateMedia({ reducedMotion: 'reduce' });
    const moving = await page.evaluate(
      () => document.getAnimations().filter(({ playState }) => playState === 'running').length,
    );
    expect(moving).toBe(0);
  });
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

  it('reports what is missing and what to do', async () => {
    expect(await page.locator('#unsupported').innerText()).toMatch(/WebGPU[^]*Chrome[^]*WEBGPU_MISSING/);
    expect(await page.locator('#load').isDisabled()).toBe(true);
    expect(await page.locator('#loading').isVisible()).toBe(false);
    expect(await page.locator('#untrained').isVisible()).toBe(false);
  });

  it('still shows photographs', async () => {
    await expect.poll(async () => (await colours(page, 'photo')).distinct).toBeGreaterThan(1000);
    const coffee = await colours(page, 'photo');
    await page.locator('input[value="rocket"]').check();
    await expect.poll(async () => (await colours(page, 'photo')).text).not.toBe(coffee.text);
  });

  it('reports it again when weights are dropped', async () => {
    await give(page, 'drop', { name: 'any.safetensors', bytes: new Uint8Array(64) });
    await notice(page, 'model').waitFor();
    expect(await notice(page, 'model').innerText()).toMatch(/WEBGPU_MISSING/);
  });

  it('has no axe violations and fits into 320 pixels', async () => {
    expect(await violations(page)).toEqual([]);
    await page.setViewportSize({ width: 320, height: 640 });
    expect(await overflow(page)).toBe(0);
  });

  // This test needs a page that does not load a model again after a reload.
  it('switches between light and dark, and remembers the choice', async () => {
    await page.emulateMedia({ colorScheme: 'light' });
    const background = (): Promise<string> =>
      page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const light = await background();
    await page.locator('#theme').click();
    const dark = await background();
    expect(dark).not.toBe(light);
    await page.reload();
    await expect.poll(background).toBe(dark);
    await page.locator('#theme').click();
    await expect.poll(background).toBe(light);
  });
});
