/**
 * The built search page in a real Chromium with a tiny model, used as by a visitor. The tests of a block
 * share one page and run in order.
 */
import { AxeBuilder } from '@axe-core/playwright';
import { join } from 'node:path';
import type { Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hostileNames } from './hostileNames.js';
import {
  added,
  cropped,
  found,
  loadTiny,
  make,
  openSearch,
  ready,
  shown,
  stripes,
  whole,
} from './searchSite.js';
import {
  downloaded,
  give,
  openSite,
  PATIENCE_MS,
  root,
  toast,
  type Dropped,
  type Site,
  type Watched,
} from './site.js';

let site: Site;
beforeAll(async () => void (site = await openSite()));
afterAll(() => site?.close());

/** Options of waits for a forward, which takes seconds on a software adapter. */
const PATIENCE = { timeout: PATIENCE_MS };
const text = (page: Page, id: string): Promise<string> => page.locator(`#${id}`).innerText();
const open = (page: Page, name: string): Promise<void> =>
  page.locator('#view .tiles button', { hasText: name }).first().click();

async function violations(page: Page): Promise<string[]> {
  const { violations: all } = await new AxeBuilder({ page }).analyze();
  return all.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary}`),
  );
}

/** Names of all tiles with a hash of their thumbnails' pixels, sorted by name. */
async function thumbnails(page: Page): Promise<string[]> {
  await page.waitForFunction(() =>
    [...document.querySelectorAll<HTMLImageElement>('#view img')].every(
      ({ complete, src }) => complete && src,
    ),
  );
  const all = await page.locator('#view .tiles li').evaluateAll((items) =>
    items.map((item) => {
      const image = item.querySelector('img')!;
      const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
      const context = canvas.getContext('2d')!;
      context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      const hash = data.reduce((sum, byte) => (Math.imul(sum, 31) + byte) >>> 0, 7);
      return `${item.querySelector('.name')!.textContent}: ${canvas.width} × ${canvas.height}, ${hash}`;
    }),
  );
  return all.sort();
}

const overflow = (page: Page): Promise<number> =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

describe('the page', () => {
  let watched: Watched;
  let page: Page;
  let photographs: Dropped[];
  let queries: Dropped[];
  beforeAll(async () => {
    watched = await openSearch(site);
    page = watched.page;
    photographs = await make(page, whole);
    queries = await make(page, cropped);
  });
  afterAll(() => page.context().close());

  it('starts empty, shows the model size, and makes no external request', async () => {
    expect(await page.locator('#empty').isVisible()).toBe(true);
    expect(await page.locator('.intro').innerText()).toMatch(/Nothing leaves this machine/);
    expect(await text(page, 'first-load')).toBe('Load ViT-S, trained (88 MB)');
    expect(await page.locator('#views, #views-why').filter({ visible: true }).count()).toBe(0);
    expect(await page.locator('#first-search').isDisabled()).toBe(true);
    expect(await violations(page)).toEqual([]);
    expect(
      watched.requests.filter((url) => !url.startsWith(site.origin) && !url.startsWith('blob:')),
    ).toEqual([]);
  });

  it('queues photographs until a model is loaded, then adds them, and lists a broken file with its error', async () => {
    await give(page, 'drop', ...photographs, {
      name: 'broken.jpg',
      type: 'image/jpeg',
      bytes: new TextEncoder().encode('no photograph'),
    });
    await page.locator('#model-bar').waitFor();
    expect(await text(page, 'model-bar-title')).toBe('5 photographs wait for a model.');
    await loadTiny(page);
    await page.locator('#model-bar').waitFor({ state: 'hidden' });
    expect(await added(page)).toBe('4 photographs added, 1 failed.');
    expect(await shown(page)).toEqual(['astronaut.jpg', 'chelsea.jpg', 'coffee.jpg', 'rocket.jpg']);
    expect(await text(page, 'failures-count')).toBe('1 file could not be added');
    expect(await page.locator('#failures-list').textContent()).toMatch(/^broken\.jpg: .*expected/);
    await page.locator('#failures-dismiss').click();
    expect(await page.locator('#failures').isVisible()).toBe(false);
    await page
      .locator('#view img')
      .nth(3)
      .evaluate((image: HTMLImageElement) => image.decode());
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe('4');
    await expect.poll(() => text(page, 'kept'), PATIENCE).toMatch(/kB/);
  });

  it('finds similar photographs, and the original of a pasted crop', async () => {
    await open(page, 'coffee.jpg');
    const likeCoffee = await found(page, 'coffee.jpg');
    expect(likeCoffee).toHaveLength(3);
    expect(likeCoffee).not.toContain('coffee.jpg');
    for (const query of queries) {
      await give(page, 'paste', query);
      const [best] = await found(page, query.name);
      expect(best).toBe(query.name.replace('-cropped', ''));
    }
    const scores = await page.locator('#results .score').allInnerTexts();
    expect(scores).toEqual([...scores].sort((a, b) => Number(b) - Number(a)));
    expect(await text(page, 'query-caption')).toMatch(/not in the collection/);
  });

  it('searches by a box drawn with the mouse or the keyboard, and clears the box', async () => {
    await open(page, 'astronaut.jpg');
    await found(page, 'astronaut.jpg');
    await page.locator('#query-image').evaluate((image: HTMLImageElement) => image.decode());
    const { x, y, width, height } = (await page.locator('#query-box').boundingBox())!;
    await page.mouse.move(x + 0.25 * width, y + 0.1 * height);
    await page.mouse.down();
    await page.mouse.move(x + 0.6 * width, y + 0.5 * height, { steps: 3 });
    await page.mouse.up();
    await found(page, 'that part of astronaut.jpg');
    expect(await page.locator('#results .box').count()).toBe(3);
    expect(await page.locator('#query-box').getAttribute('aria-label')).toMatch(
      /from 25 % across and 10 % down, 35 % wide and 40 % high/,
    );
    await page.locator('#query-whole').click();
    await page.waitForFunction(() => document.querySelectorAll('#results .box').length === 0);
    await page.locator('#query-box').focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('Shift+ArrowDown');
    expect(await page.locator('#query-box').getAttribute('aria-label')).toMatch(
      /from 31 % across and 25 % down, 50 % wide and 56 % high/,
    );
    await page.waitForFunction(() => document.querySelectorAll('#results .box').length === 3);
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => document.querySelectorAll('#results .box').length === 0);
  });

  it('finds a part of a photograph at the same place in the same photograph', async () => {
    await page.locator('#query-close').click();
    await give(page, 'paste', { ...photographs[0]!, name: 'the same.jpg' });
    await found(page, 'the same.jpg');
    const image = page.locator('#query-image');
    await image.evaluate((each: HTMLImageElement) => each.decode());
    const { x, y, width, height } = (await page.locator('#query-box').boundingBox())!;
    await page.mouse.move(x + 0.5 * width, y + 0.25 * height); // a box of one patch in the grid of 16 × 16
    await page.mouse.down();
    await page.mouse.move(x + 0.5625 * width, y + 0.3125 * height, { steps: 3 });
    await page.mouse.up();
    const [best] = await found(page, 'that part of the same.jpg');
    expect(best).toBe('astronaut.jpg');
    const box = await page
      .locator('#results .box')
      .first()
      .evaluate((each) => [each.style.left, each.style.top, each.style.width, each.style.height]);
    expect(box).toEqual(['50%', '25%', '6.25%', '6.25%']);
    await page.locator('#query-close').click();
  });

  it('skips photographs that are already in the collection, and updates changed ones', async () => {
    await give(page, 'drop', ...photographs);
    expect(await added(page)).toMatch(
      /^0 photographs added, .*4 failed|^0 photographs added, 4 there already/,
    ); // Dropped test files have the current date and no file handle, so the page may not recognize them.
    await give(page, 'drop', { ...photographs[1]!, name: 'coffee.jpg' });
    const same = page.getByRole('button', { name: 'They are the same, moved or changed' });
    await expect.poll(() => text(page, 'status'), PATIENCE).toMatch(/, 1 failed/);
    await same.click();
    await expect.poll(() => text(page, 'status'), PATIENCE).toMatch(/1 changed/);
    await open(page, 'chelsea.jpg');
    expect((await found(page, 'chelsea.jpg'))[0]).toBe('coffee.jpg');
    expect(await page.locator('#results .score').first().innerText()).toBe('1.00');
    await page.locator('#query-close').click();
  });

  it('shows duplicates, groups and a map that works with the keyboard', async () => {
    await page.locator('input[value="duplicates"]').check();
    await page.locator('#threshold').fill('0.995');
    await expect.poll(() => text(page, 'status'), PATIENCE).toBe('1 group of duplicates');
    expect((await shown(page)).sort()).toEqual(['chelsea.jpg', 'coffee.jpg']);
    await page.locator('input[value="groups"]').check();
    await expect.poll(() => text(page, 'status'), PATIENCE).toMatch(/4 photographs in \d groups/);
    expect((await shown(page)).sort()).toEqual(['astronaut.jpg', 'chelsea.jpg', 'coffee.jpg', 'rocket.jpg']);
    await page.locator('input[value="map"]').check();
    const canvas = page.locator('.map canvas');
    await canvas.focus();
    await page.keyboard.press('ArrowRight');
    await expect.poll(() => canvas.getAttribute('aria-label'), PATIENCE).toMatch(/^Map, at /);
    const name = (await canvas.getAttribute('aria-label'))!.replace('Map, at ', '');
    await page.keyboard.press('Enter');
    await found(page, name);
    await page.locator('input[value="all"]').check();
  });

  it.each(['light', 'dark'] as const)(
    'has no axe violations in %s mode, and fits into 360 pixels',
    async (colorScheme) => {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.evaluate(() => document.querySelector('#failures details')!.toggleAttribute('open', true));
      expect(await violations(page)).toEqual([]);
      for (const width of [360, 768, 1280]) {
        await page.setViewportSize({ width, height: 800 });
        expect(await overflow(page)).toBe(0);
      }
      expect(
        await page.evaluate(
          () => document.getAnimations().filter(({ playState }) => playState === 'running').length,
        ),
      ).toBe(0);
    },
  );

  it('exports, says how large the file is, deletes everything after a confirmation, and imports the export', async () => {
    await open(page, 'rocket.jpg');
    const before = await found(page, 'rocket.jpg');
    const pictures = await thumbnails(page);
    await page.locator('#about-open').click();
    const coming = page.waitForEvent('download');
    await page.locator('#export').click();
    const bytes = await downloaded(await coming);
    await page.locator('#delete').click();
    expect(await text(page, 'sure-what')).toMatch(/^4 photographs/);
    await expect
      .poll(() => text(page, 'sure-export'), PATIENCE)
      .toBe(`Export it first (${Math.round(bytes.length / 1000)} kB with thumbnails)`);
    await page.locator('#sure-yes').click();
    await page.locator('#empty').waitFor();
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe('0');

    await give(page, 'drop', { name: 'photographs.safetensors', bytes: bytes.subarray(0, bytes.length - 9) });
    await toast(page, 'import').waitFor();
    expect(await toast(page, 'import').innerText()).toMatch(/^The file could not be imported. INDEX_FILE/);
    expect(await page.locator('#empty').isVisible()).toBe(true);
    await give(page, 'drop', { name: 'photographs.safetensors', bytes });
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe('4');
    expect(await toast(page, 'import').innerText()).toMatch(/^4 photographs imported/);
    await toast(page, 'import').getByRole('button', { name: 'Dismiss' }).click();
    expect(await thumbnails(page)).toEqual(pictures);
    await open(page, 'rocket.jpg');
    expect(await found(page, 'rocket.jpg')).toEqual(before);
  });

  it('keeps the collection after a reload, and searches it without a model', async () => {
    await page.reload();
    await ready(page);
    expect(await text(page, 'running')).toBe('none');
    await open(page, 'astronaut.jpg');
    expect(await found(page, 'astronaut.jpg')).toHaveLength(3);
    expect(await page.locator('#query-box').getAttribute('aria-disabled')).toBe('true');
    expect(await text(page, 'query-help')).toMatch(/load the model/);
  });

  it('reports another model, and does not mix the vectors of both', async () => {
    await loadTiny(page, join(root, 'test/fixtures/reference/tiny-registers'));
    await page.locator('#model-bar').waitFor();
    expect(await text(page, 'model-bar')).toMatch(
      /This collection was made with the file model.safetensors\. Loaded is another model of this name/,
    );
    await give(page, 'drop', queries[0]!);
    await expect.poll(() => text(page, 'model-bar-text')).toMatch(/1 photograph waits for the right model/);
    expect(await text(page, 'count')).toBe('4');
    await loadTiny(page);
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe('5');
    expect(await page.locator('#model-bar').isVisible()).toBe(false);
  });

  it('logs no error, and makes no request to another origin', () => {
    expect(watched.complaints).toEqual([]);
    expect(
      watched.requests.filter((url) => !url.startsWith(site.origin) && !url.startsWith('blob:')),
    ).toEqual([]);
  });
});

describe('file names', () => {
  it('are shown as text: thirty hostile names execute nothing', async () => {
    const { page, complaints, requests } = await openSearch(site, (fresh) =>
      fresh.addInitScript(() => {
        globalThis.alert = () =>
          void ((globalThis as { alerts?: number }).alerts =
            ((globalThis as { alerts?: number }).alerts ?? 0) + 1);
      }),
    );
    await loadTiny(page);
    await give(page, 'drop', ...(await stripes(page, hostileNames)));
    await added(page);
    const [good, failed] = [
      await page.locator('#view li').count(),
      await page.locator('#failures-list li').count(),
    ];
    expect(good + failed).toBe(hostileNames.length);
    expect(good).toBeGreaterThan(25);
    for (const view of ['groups', 'map', 'all']) {
      await page.locator(`input[value="${view}"]`).check();
      await expect.poll(() => text(page, 'status'), PATIENCE).toMatch(/photographs/);
    }
    const tiles = page.locator('#view .tiles button');
    await tiles.first().click();
    await expect.poll(() => page.locator('#results li').count(), PATIENCE).toBe(good - 1);
    for (const part of [...hostileNames].slice(0, 3))
      expect(
        (await page.locator('#view .tiles').textContent())!.includes(part.slice(part.lastIndexOf('/') + 1)),
      ).toBe(true);
    expect(
      await page.evaluate(() => [
        (globalThis as { alerts?: number }).alerts ?? 0,
        document.querySelectorAll(
          '[onerror], [onload], [onfocus], [ontoggle], iframe, base, #view script, #view style, #results script',
        ).length,
      ]),
    ).toEqual([0, 0]);
    expect(
      requests.filter(
        (url) => !url.startsWith('blob:') && (!url.startsWith(site.origin) || url.endsWith('/x')),
      ),
    ).toEqual([]);
    expect(complaints).toEqual([]);
    await page.context().close();
  });
});
