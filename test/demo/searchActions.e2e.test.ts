/**
 * The search page with twelve photographs: results and their end, duplicates and removal, groups, the map,
 * links, phones. Checked by numbers and pixels. The tests share one page and run in order.
 */
import { AxeBuilder } from '@axe-core/playwright';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Locator, Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  added,
  found,
  loadTiny,
  make,
  openSearch,
  ready,
  samples,
  shown,
  stripes,
  type Variant,
} from './searchSite.js';
import { facebookPreprocessor } from '../loading/preprocessors.ts';
import {
  give,
  openSite,
  PATIENCE_MS,
  root,
  shiftsOf,
  tiny,
  toast,
  watchShifts,
  type Site,
  type Watched,
} from './site.js';

let site: Site;
beforeAll(async () => void (site = await openSite()));
afterAll(() => site?.close());

const PATIENCE = { timeout: PATIENCE_MS };
const text = (page: Page, id: string): Promise<string> => page.locator(`#${id}`).innerText();
const open = (page: Page, name: string): Promise<void> =>
  page.locator('#view .tiles button', { hasText: name }).first().click();
const box = async (element: Locator) => (await element.boundingBox())!;
/** What the page's address says after `?`. */
const address = (page: Page): string => decodeURIComponent(new URL(page.url()).search.slice(1));

/** Three variants of each of the four sample photographs. */
const variants: readonly Variant[] = samples.flatMap((of) =>
  [1, 0.94, 0.86].map((size, i) => ({
    of,
    name: `${of.replace(/\.\w+$/, '')} ${i}.jpg`,
    crop: { left: 0, top: 0, width: size, height: size },
  })),
);

/** All scores of the list, and how many of its results are shown. */
const list = (page: Page): Promise<{ scores: number[]; visible: number }> =>
  page.locator('#results li').evaluateAll((items) => ({
    scores: items.map((item) => Number(item.querySelector('.score')!.textContent)),
    visible: items.filter((item) => item.getBoundingClientRect().height > 0).length,
  }));

describe('with twelve photographs', () => {
  let watched: Watched;
  let page: Page;
  beforeAll(async () => {
    watched = await openSearch(site, watchShifts);
    page = watched.page;
    const { sum, moved } = await shiftsOf(page);
    expect(sum, moved).toBeLessThan(0.02);
    await loadTiny(page);
  });
  afterAll(() => page.context().close());

  it('says at once how many photographs were dropped, and counts them one by one', async () => {
    const photographs = await make(page, variants);
    // The page reports at most ten times a second, and the tiny model takes less than 100 ms. Here the GPU
    // answers every 300 ms, so that only a batch can finish two photographs within one report.
    const slow = page.workers().map((worker) =>
      worker.evaluate((everyMs) => {
        const { mapAsync } = GPUBuffer.prototype;
        let last = Promise.resolve();
        GPUBuffer.prototype.mapAsync = function (this: GPUBuffer, ...how) {
          const turn = last.then(() => new Promise<void>((resolve) => setTimeout(resolve, everyMs)));
          last = turn;
          return Promise.all([mapAsync.apply(this, how), turn]).then(() => undefined);
        };
        Object.assign(globalThis, { answerAtOnce: () => (GPUBuffer.prototype.mapAsync = mapAsync) });
      }, 300),
    );
    expect(slow).toHaveLength(1);
    await Promise.all(slow);
    await page.evaluate(() => {
      const said: string[] = [];
      Object.assign(globalThis, { said });
      new MutationObserver(() => {
        const now = document.querySelector('#adding-numbers')!.textContent!;
        if (said.at(-1) !== now) said.push(now);
      }).observe(document.querySelector('#adding-numbers')!, { childList: true });
    });
    await give(page, 'drop', ...photographs);
    expect(await added(page)).toBe('12 photographs added.');
    await page.workers()[0]!.evaluate(() => {
      (globalThis as unknown as { answerAtOnce(): void }).answerAtOnce();
    });
    const said = await page.evaluate(() => (globalThis as unknown as { said: string[] }).said);
    const counts = said.flatMap((each) => {
      const [, done, all] = /^(\d+) of (\d+)(?! so far)/.exec(each) ?? [];
      return all === '12' ? [Number(done)] : [];
    });
    expect(counts[0]).toBe(0);
    expect(counts.at(-1)).toBe(12);
    for (let i = 1; i < counts.length; i++) expect(counts[i]! - counts[i - 1]!).toBeLessThanOrEqual(2);
  });

  it('prints the name under every tile, on one line, with the whole path as title', async () => {
    for (const view of ['all', 'duplicates', 'groups']) {
      await page.locator(`input[value="${view}"]`).check();
      await expect.poll(() => page.locator('#view .tiles li').count(), PATIENCE).toBeGreaterThan(1);
      const tiles = await page.locator('#view .tiles li').evaluateAll((items) =>
        items.map((item) => {
          const name = item.querySelector<HTMLElement>('.name')!;
          const { height, top } = name.getBoundingClientRect();
          return {
            height,
            below: top >= item.querySelector('.cell')!.getBoundingClientRect().bottom,
            same: item.querySelector('button')!.title === name.textContent,
          };
        }),
      );
      for (const tile of tiles) {
        expect(tile.height).toBeGreaterThan(10);
        expect(tile.height).toBeLessThan(24);
        expect(tile).toMatchObject({ below: true, same: true });
      }
    }
    await page.locator('input[value="all"]').check();
  });

  it('ends the results at the largest drop, says so, and follows the slider', async () => {
    await open(page, 'coffee 0.jpg');
    await found(page, 'coffee 0.jpg');
    const { scores, visible } = await list(page);
    expect(scores).toHaveLength(11);
    expect(scores).toEqual([...scores].sort((a, b) => b - a));
    const drops = scores.slice(0, 6).map((score, i) => score - scores[i + 1]!);
    expect(drops[visible - 1]).toBeCloseTo(Math.max(...drops), 1);
    expect(await text(page, 'results-count')).toMatch(new RegExp(`^${visible} of 11 above 0\\.\\d\\d`));
    expect(await text(page, 'results-rule')).toMatch(/drops most: from \d\.\d+ to \d\.\d+\./);

    await page.locator('#results-all').click();
    expect((await list(page)).visible).toBe(11);
    expect(await text(page, 'results-count')).toMatch(/^11 of 11 above/);
    const middle = (scores[1]! + scores[2]!) / 2;
    await page.locator('#score').fill(middle.toFixed(3));
    const at = Number(await page.locator('#score').inputValue());
    const expected = (await list(page)).visible;
    expect(Math.abs(scores.filter((score) => score >= at).length - expected)).toBeLessThanOrEqual(1);
    expect(address(page)).toBe(`q=coffee 0.jpg&from=${at}`);
    await page.locator('#results-drop').click();
    expect((await list(page)).visible).toBe(visible);
    expect(address(page)).toBe('q=coffee 0.jpg');
  });

  it('shows the photograph large, and lets the results scroll with the page', async () => {
    const image = await box(page.locator('#query-image'));
    expect(image.width).toBeGreaterThan(0.35 * 1280);
    await page.locator('#results-all').click();
    expect(
      await page
        .locator('#results')
        .evaluate((each) => [getComputedStyle(each).overflowY, each.scrollHeight - each.clientHeight]),
    ).toEqual(['visible', 0]);
    await page.setViewportSize({ width: 390, height: 844 });
    expect((await box(page.locator('#query-image'))).width).toBeGreaterThan(330);
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.locator('#query-close').click();
  });

  it('says in the panel that a search failed', async () => {
    await give(page, 'paste', {
      name: 'broken.jpg',
      type: 'image/jpeg',
      bytes: new TextEncoder().encode('no'),
    });
    await page.locator('#results-state').waitFor();
    expect(await text(page, 'results-state')).toMatch(/^The search failed\. .*Try again$/s);
    expect(await text(page, 'results-heading')).toBe('No results');
    expect(await page.locator('.toast').count()).toBe(0);
    await page.locator('#query-close').click();
  });

  it('shows what is known of duplicates, keeps the best, and puts the others back', async () => {
    await page.locator('input[value="duplicates"]').check();
    await page.locator('#threshold').fill('0.9');
    const group = page.locator('.found-group', { hasText: 'coffee 0.jpg' });
    await group.waitFor();
    const tiles = await group.locator('li').allInnerTexts();
    expect(tiles.length).toBeGreaterThan(1);
    for (const tile of tiles) expect(tile).toMatch(/\d+ × \d+ · \d+ kB\s+\d{4}-\d\d-\d\d/);
    expect(tiles[0]).toMatch(/^best/);
    for (const tile of tiles.slice(1)) expect(tile).toMatch(/(0\.9\d|1\.00)/);
    expect(await text(page, 'view')).toMatch(
      /most pixels.*largest file.*oldest.*files on your disk are not changed/s,
    );

    const names = (await group.locator('.name').allTextContents()).slice(1).sort();
    await group.getByRole('button', { name: 'Keep best' }).click();
    await toast(page, 'removed').waitFor();
    expect(await toast(page, 'removed').innerText()).toMatch(
      /removed from the collection.*disk are not changed/s,
    );
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe(String(12 - names.length));
    await toast(page, 'removed').getByRole('button', { name: 'Undo' }).click();
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe('12');
    await page.locator('input[value="all"]').check();
    await expect.poll(() => shown(page), PATIENCE).toHaveLength(12);
    expect((await shown(page)).slice(-names.length).sort()).toEqual(names);
    const restored = page.locator('#view li').last().locator('img');
    await expect
      .poll(() => restored.evaluate((image: HTMLImageElement) => image.naturalWidth), PATIENCE)
      .toBe(240);
  });

  it('removes selected photographs, and nothing while none is selected', async () => {
    await page.locator('#select').click();
    expect(await page.locator('#selection-remove').isDisabled()).toBe(true);
    await open(page, 'rocket 0.jpg'); // a click on a tile now selects it
    await page.getByLabel('Select chelsea 1.jpg').check();
    expect(await text(page, 'selection-count')).toBe('2 selected');
    expect(await page.locator('#query').isVisible()).toBe(false);
    await page.locator('#selection-remove').click();
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe('10');
    expect(await shown(page)).not.toContain('rocket 0.jpg');
    expect(await page.locator('#selection').isVisible()).toBe(false);
    await toast(page, 'removed').getByRole('button', { name: 'Undo' }).click();
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe('12');
  });

  it('gives groups a large cover and its name', async () => {
    await page.locator('input[value="groups"]').check();
    await page.locator('#clusters').fill('3');
    await expect.poll(() => text(page, 'status'), PATIENCE).toBe('12 photographs in 3 groups');
    const first = page.locator('.found-group').first();
    const [cover, other] = [
      await box(first.locator('.cell').first()),
      await box(first.locator('.cell').nth(1)),
    ];
    expect(cover.width).toBeGreaterThan(1.9 * other.width);
    expect(await first.locator('h3').innerText()).toBe(await first.locator('.name').first().textContent());
    expect(address(page)).toBe('view=groups&likeness=0.9&groups=3');
  });

  it('names the photograph of the map that has the focus, and zooms', async () => {
    await page.locator('input[value="map"]').check();
    const canvas = page.locator('.map canvas');
    await canvas.waitFor();
    await page.locator('input[value="map"]').focus();
    for (let i = 0; i < 6 && !(await canvas.evaluate((each) => each === document.activeElement)); i++)
      await page.keyboard.press('Tab');
    await page.locator('.map .label:not([hidden])').waitFor();
    const name = await page.locator('.map .label').innerText();
    expect(variants.map((each) => each.name)).toContain(name);
    const pixels = (): Promise<string> => canvas.evaluate((each: HTMLCanvasElement) => each.toDataURL());
    const before = await pixels();
    await page.getByRole('button', { name: 'Zoom in' }).click();
    await expect.poll(pixels).not.toBe(before);
    await page.getByRole('button', { name: 'Show the whole map' }).click();
  });

  it('opens every state from a link, and goes back', async () => {
    const at = async (search: string): Promise<void> => {
      await page.goto(`${site.origin}/demo/search/${search}`);
      await ready(page);
    };
    await at('?view=duplicates&likeness=0.9');
    await page.locator('.found-group').first().waitFor();
    expect(await page.locator('input[value="duplicates"]').isChecked()).toBe(true);
    expect(await text(page, 'threshold-value')).toBe('0.90');
    await at('?q=coffee 0.jpg&box=25,25,50,50&from=0.5');
    await found(page, 'coffee 0.jpg');
    expect(await page.locator('#query-mark').isVisible()).toBe(true);
    expect(await text(page, 'results-count')).toMatch(/above 0\.50$/);
    expect(await page.locator('#results .box').count()).toBe(0); // no model is loaded yet
    await loadTiny(page);
    await page.waitForFunction(() => document.querySelectorAll('#results .box').length > 0);
    await open(page, 'rocket 1.jpg');
    await found(page, 'rocket 1.jpg');
    expect(address(page)).toBe('q=rocket 1.jpg');
    await page.goBack();
    await found(page, 'that part of coffee 0.jpg');
    expect(await text(page, 'query-heading')).toBe('coffee 0.jpg');
    await at('?q=none.jpg');
    await page.locator('#results-state').waitFor();
    expect(await text(page, 'results-state')).toMatch(/no photograph none\.jpg/);
  });

  it('shows photographs on the first screen of a phone', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    await page.goto(`${site.origin}/demo/search/`);
    await ready(page);
    await page.locator('#view .tiles li').nth(8).waitFor();
    const cells = await page
      .locator('#view .cell')
      .evaluateAll((all) => all.map((each) => each.getBoundingClientRect().bottom));
    expect(cells.filter((bottom) => bottom < 844).length).toBeGreaterThanOrEqual(9);
    const small = await page
      .locator('main button:visible, main .pills label:visible')
      .evaluateAll((all) =>
        all.map((each) => each.getBoundingClientRect().height).filter((height) => height < 44),
      );
    expect(small).toEqual([]);
    await page.setViewportSize({ width: 1280, height: 800 });
  });

  it('has no axe violations in any view, with results, with a selection and in the dialog', async () => {
    const violations = async (): Promise<string[]> =>
      (await new AxeBuilder({ page }).analyze()).violations.flatMap(({ id, nodes }) =>
        nodes.map(({ target }) => `${id}: ${target.join(' ')}`),
      );
    for (const search of ['?view=duplicates&likeness=0.9', '?view=map', '?view=groups&q=coffee 0.jpg']) {
      await page.goto(`${site.origin}/demo/search/${search}`);
      await ready(page);
      await page.locator('#view > *').first().waitFor();
      if (search.includes('q=')) await found(page, 'coffee 0.jpg');
      expect(await violations(), search).toEqual([]);
    }
    await page.locator('#select').click();
    await page.getByLabel('Select coffee 1.jpg').first().check();
    expect(await violations()).toEqual([]);
    await page.locator('#selection-end').click();
    await page.locator('#about-open').click();
    expect(await violations()).toEqual([]);
    await page.locator('#about-close').click();
    await page.goto(`${site.origin}/demo/search/`);
    await ready(page);
  });

  it('shows photographs of extreme shapes whole', async () => {
    await loadTiny(page);
    const [wide] = await stripes(page, ['wide.png']);
    await give(page, 'drop', wide!);
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe('13');
    const image = page.locator('#view li', { hasText: 'wide.png' }).locator('img');
    await expect
      .poll(() => image.evaluate((each: HTMLImageElement) => each.naturalWidth), PATIENCE)
      .toBeGreaterThan(0);
    expect(await image.evaluate((each) => getComputedStyle(each).objectFit)).toBe('contain');
    const other = page.locator('#view li', { hasText: 'coffee 0.jpg' }).locator('img');
    expect(await other.evaluate((each) => getComputedStyle(each).objectFit)).toBe('cover');
  });

  it('moves nothing while it starts and while photographs are added', async () => {
    await page.reload();
    await ready(page);
    await page.locator('#view .tiles li').nth(12).waitFor();
    await loadTiny(page);
    await give(page, 'drop', ...(await stripes(page, ['x.png', 'y.png'])));
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe('15');
    const { sum, moved } = await shiftsOf(page);
    expect(sum, moved).toBeLessThan(0.02);
  });

  it('logs no error', () => expect(watched.complaints).toEqual([]));
});

describe('another model than the one of the collection', () => {
  it('is named in one bar, whose button loads the right one', async () => {
    const { page } = await openSearch(site);
    // The tiny model is served in place of ViT-S.
    await page.context().route(/^https:/, (route) => {
      const file = route.request().url().split('/').at(-1)!;
      return route.fulfill({
        status: 200,
        headers: { 'access-control-allow-origin': '*' },
        contentType: file.endsWith('json') ? 'application/json' : 'application/octet-stream',
        body: file === 'preprocessor_config.json' ? facebookPreprocessor : readFileSync(join(tiny, file)),
      });
    });
    await page.locator('#first-load').click();
    await page.locator('#running', { hasText: 'ViT-S, trained' }).waitFor({ state: 'attached' });
    await give(page, 'drop', ...(await stripes(page, ['a.png', 'b.png'])));
    await added(page);
    await loadTiny(page, join(root, 'test/fixtures/reference/tiny-registers'));
    await page.locator('#model-bar').waitFor();
    expect(await text(page, 'model-bar')).toMatch(
      /^This collection was made with ViT-S, trained\. Loaded is the file model\.safetensors\./,
    );
    expect(await page.locator('.toast').count()).toBe(0);
    await page.locator('#model-bar').getByRole('button', { name: 'Load ViT-S, trained (88 MB)' }).click();
    await page.locator('#model-bar').waitFor({ state: 'hidden' });
    await expect.poll(() => text(page, 'running'), PATIENCE).toBe('ViT-S, trained');
    expect(await page.locator('#model-bar').isVisible()).toBe(false);
    await page.context().close();
  });
});
