/** The page Compare, used as by a visitor: matches, similarity and PCA of two pictures, own pictures. */
import { AxeBuilder } from '@axe-core/playwright';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Locator, Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPage, openSite, root, shiftsOf, toast, watchShifts, type Site, type Watched } from './site.js';

/** The two parts of one photograph that the page shows first are this many patches apart at 224 pixels. */
const MOVED = { row: 2, col: 4 };
const GRID = { rows: 12, cols: 16 };
const SMALL = { width: 740, height: 640 };

let site: Site;
beforeAll(async () => void (site = await openSite()));
afterAll(() => site?.close());

const text = (page: Page, id: string): Promise<string> => page.locator(`#${id}`).innerText();
const query = (page: Page): URLSearchParams => new URL(page.url()).searchParams;

/** The lines as patches: row and column in A and in B. The first is the one that is drawn first. */
async function lines(page: Page, kind = '.line'): Promise<{ a: number[]; b: number[] }[]> {
  const found = await page
    .locator(`#lines ${kind}`)
    .evaluateAll((groups) => groups.map((group) => ({ ...(group as SVGGElement).dataset })));
  const numbers = (patch: string | undefined): number[] => (patch ?? '').split(',').map(Number);
  return found.map(({ a, b }) => ({ a: numbers(a), b: numbers(b) }));
}
const isTrue = ({ a, b }: { a: number[]; b: number[] }): boolean =>
  a[0]! - b[0]! === MOVED.row && a[1]! - b[1]! === MOVED.col;

/** The centre of a patch in the window. The pictures of this test fill their frames on one side. */
async function centreOf(frame: Locator, row: number, col: number): Promise<{ x: number; y: number }> {
  const { x, y, width, height } = (await frame.boundingBox())!;
  const patch = Math.min(width / GRID.cols, height / GRID.rows);
  return {
    x: x + (width - patch * GRID.cols) / 2 + (col + 0.5) * patch,
    y: y + (height - patch * GRID.rows) / 2 + (row + 0.5) * patch,
  };
}

/** Waits until both frames show what was computed. */
const done = (page: Page): Promise<unknown> =>
  page.locator('.frame[aria-busy="false"]:not(.waiting)').nth(1).waitFor();

/** The pixels of a map: RGBA of each patch. */
const pixelsOf = (page: Page, id: string): Promise<{ width: number; height: number; data: number[] }> =>
  page.evaluate((which) => {
    const canvas = document.querySelector<HTMLCanvasElement>(`#${which}`)!;
    const { width, height } = canvas;
    const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })!;
    context.drawImage(canvas, 0, 0);
    return { width, height, data: [...context.getImageData(0, 0, width, height).data] };
  }, id);

/** Drops a file on an element. */
async function dropOn(page: Page, selector: string, name: string, bytes: Uint8Array): Promise<void> {
  await page.evaluate(
    ([where, fileName, base64]) => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(atob(base64!), (each) => each.charCodeAt(0))], fileName!));
      for (const type of ['dragover', 'drop'])
        document
          .querySelector(where!)!
          .dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: data }));
    },
    [selector, name, Buffer.from(bytes).toString('base64')],
  );
}

describe('the page Compare', () => {
  let watched: Watched;
  let page: Page;
  let frameA: Locator;
  let frameB: Locator;
  const submits = (): Promise<number> =>
    page.evaluate(() => (globalThis as unknown as { submits: number }).submits);

  beforeAll(async () => {
    watched = await openPage(
      site,
      async (opened) => {
        await watchShifts(opened);
        // A software GPU takes seconds to draw many lines on a large window.
        await opened.setViewportSize(SMALL);
        await opened.addInitScript(() => {
          const counted = Object.assign(globalThis, { submits: 0 });
          const { submit } = GPUQueue.prototype;
          GPUQueue.prototype.submit = function (buffers) {
            counted.submits++;
            return submit.call(this, buffers);
          };
        });
      },
      'demo/compare/?tab=similarity&patch=a,6,8&k=12&min=0.2',
    );
    page = watched.page;
    frameA = page.locator('#frame-a');
    frameB = page.locator('#frame-b');
    await done(page);
  });
  afterAll(() => page.context().close());

  it('opens the state of its address, without a shift of the layout', async () => {
    expect(await page.locator('#tab-similarity').getAttribute('aria-selected')).toBe('true');
    expect(await text(page, 'caption')).toMatch(
      /^A, row 7, column 9: nearest in B is row 5, column 5, cosine/,
    );
    await page.locator('#tab-matches').click();
    expect(await page.locator('#count').inputValue()).toBe('12');
    expect(await page.locator('#least').inputValue()).toBe('0.2');
    expect(await lines(page, '.line:not(.strong)')).toHaveLength(12);
    const { sum, moved } = await shiftsOf(page);
    expect(sum, moved).toBeLessThanOrEqual(0.02);
  });

  it('connects equal parts of the two pictures, from patch centre to patch centre', async () => {
    await page.locator('#release').click();
    await page.locator('#count').fill('30');
    const found = await lines(page);
    expect(found).toHaveLength(30);
    expect(found.filter(isTrue).length).toBeGreaterThanOrEqual(25);
    expect(Number(await text(page, 'overall'))).toBeGreaterThan(0.9);
    await page.setViewportSize({ width: 900, height: 700 }); // the lines follow the layout
    await expect
      .poll(async () => {
        const circle = (await page.locator('#lines .line circle').first().boundingBox())!;
        const wanted = await centreOf(frameA, found[0]!.a[0]!, found[0]!.a[1]!);
        return Math.hypot(circle.x + circle.width / 2 - wanted.x, circle.y + circle.height / 2 - wanted.y);
      })
      .toBeLessThan(1);
    await page.setViewportSize(SMALL);
  });

  it('highlights the nearest patch under the pointer in both directions, without the GPU', async () => {
    const before = await submits();
    const inA = await centreOf(frameA, 5, 8);
    await page.mouse.move(inA.x, inA.y);
    expect(await lines(page, '.strong')).toEqual([{ a: [5, 8], b: [3, 4] }]);
    expect(await text(page, 'caption')).toMatch(/^A, row 6, column 9: .*row 4, column 5, cosine 0\.9\d\.$/);
    const inB = await centreOf(frameB, 3, 4);
    await page.mouse.move(inB.x, inB.y);
    expect(await lines(page, '.strong')).toEqual([{ a: [5, 8], b: [3, 4] }]);
    expect(await text(page, 'caption')).toMatch(/^B, row 4, column 5: nearest in A/);
    await page.mouse.move(5, 5);
    expect(await lines(page, '.strong')).toEqual([]);
    expect(await submits()).toBe(before);
  });

  it('limits the lines by number, score, mutuality and region, without the GPU', async () => {
    const before = await submits();
    await page.locator('#count').fill('200');
    const mutual = await lines(page);
    expect(new Set(mutual.map(({ b }) => b.join())).size).toBe(mutual.length);
    await page.locator('#mutual').uncheck();
    expect(await text(page, 'caption')).toMatch(/^192 of 192 nearest patches, cosine/);
    await page.locator('#least').fill('0.95');
    const [, count, worst] = /^(\d+) of .* cosine (0\.\d+) to/.exec(await text(page, 'caption'))!;
    expect(Number(worst)).toBeGreaterThanOrEqual(0.95);
    expect(await lines(page)).toHaveLength(Number(count));
    expect(query(page).get('mutual')).toBe('no');
    expect(query(page).get('min')).toBe('0.95');
    await page.locator('#least').fill('1');
    expect(await text(page, 'caption')).toMatch(/^None of the/);
    await page.locator('#least').fill('0');
    await page.locator('#mutual').check();

    const [from, to] = [await centreOf(frameA, 3, 6), await centreOf(frameA, 6, 9)];
    await page.mouse.move(from.x, from.y);
    await page.mouse.down();
    await page.mouse.move(to.x, to.y, { steps: 3 });
    await page.mouse.up();
    expect(query(page).get('region')).toBe('3,6,4,4');
    const inside = await lines(page, '.line:not(.strong)');
    expect(inside.length).toBeGreaterThan(5);
    expect(inside.every(({ a }) => a[0]! >= 3 && a[0]! <= 6 && a[1]! >= 6 && a[1]! <= 9)).toBe(true);
    await page.locator('#release').click();
    expect(query(page).get('region')).toBeNull();
    expect(await submits()).toBe(before);
  });

  it('shows the similarity to a patch in both pictures, and moves the patch with the keyboard', async () => {
    await page.locator('#tab-similarity').click();
    const before = await submits();
    const place = await centreOf(frameB, 3, 4);
    await page.mouse.click(place.x, place.y);
    await page.mouse.move(5, 5);
    expect(query(page).get('patch')).toBe('b,3,4');
    const [a, b] = [await pixelsOf(page, 'map-a'), await pixelsOf(page, 'map-b')];
    expect([a.width, a.height]).toEqual([GRID.cols, GRID.rows]);
    const yellow = [253, 231, 37, 255]; // the last colour of viridis: only the patch itself has cosine 1
    expect(b.data.slice(4 * (3 * 16 + 4), 4 * (3 * 16 + 5))).toEqual(yellow);
    expect(await text(page, 'legend-high')).toBe('1.00');
    await frameB.focus();
    await page.keyboard.press('ArrowRight');
    expect(query(page).get('patch')).toBe('b,3,5');
    expect((await pixelsOf(page, 'map-a')).data).not.toEqual(a.data);
    await page.keyboard.press('Escape');
    expect(query(page).get('patch')).toBeNull();
    expect(await submits()).toBe(before);
  });

  it('paints equal parts in equal colours', async () => {
    await page.locator('#tab-pca').click();
    await page.locator('#map-a').waitFor();
    const [a, b] = [await pixelsOf(page, 'map-a'), await pixelsOf(page, 'map-b')];
    const difference = (down: number, right: number): number => {
      const all: number[] = [];
      for (let row = 2; row < GRID.rows; row++)
        for (let col = 4; col < GRID.cols; col++)
          for (let channel = 0; channel < 3; channel++) {
            const [i, j] = [row * GRID.cols + col, (row - down) * GRID.cols + col - right];
            all.push(Math.abs(a.data[4 * i + channel]! - b.data[4 * j + channel]!));
          }
      return all.reduce((sum, each) => sum + each, 0) / all.length;
    };
    expect(difference(MOVED.row, MOVED.col)).toBeLessThan(0.5 * difference(0, 0));
  });

  it('swaps the pictures without another forward pass', async () => {
    await page.locator('#tab-matches').click();
    await page.locator('#count').fill('30');
    const before = await text(page, 'status');
    await page.locator('#swap').click();
    await done(page);
    expect([query(page).get('a'), query(page).get('b')]).toEqual(['right', 'left']);
    const found = await lines(page);
    expect(found.filter(({ a, b }) => isTrue({ a: b, b: a })).length).toBeGreaterThanOrEqual(25);
    const times = (said: string): string[] => said.match(/[\d.]+ m?s\b/g)!.toSorted();
    expect(times(await text(page, 'status'))).toEqual(times(before));
  });

  it('takes a picture that is dropped on a slot, and says which one it cannot open', async () => {
    await dropOn(page, '#frame-a', 'broken.png', new Uint8Array(100));
    expect(await toast(page, 'picture-a').innerText()).toMatch(/The picture for A could not be opened/);
    await toast(page, 'picture-a').getByText('Dismiss').click();
    await dropOn(page, '#frame-a', 'mug.png', readFileSync(join(root, 'demo/photos/coffee.png')));
    // Read in one frame of the page: the new lines may come soon.
    const shown = await page.waitForFunction(() => {
      const taken = [...document.querySelectorAll('#choice-a option')].some(
        (option) => option.textContent === 'mug.png',
      );
      if (!taken) return undefined;
      return {
        busy: document.querySelector('#frame-a')!.getAttribute('aria-busy'),
        lines: document.querySelectorAll('#lines .line').length,
      };
    });
    expect(await shown.jsonValue()).toEqual({ busy: 'true', lines: 0 }); // nothing of the previous pictures stays
    await done(page);
    expect(await lines(page)).not.toEqual([]);
    expect([query(page).get('a'), query(page).get('b')]).toEqual([null, 'left']);
    expect(watched.complaints).toEqual([]);
  });

  it.each(['light', 'dark'] as const)('has no axe violations in %s mode', async (colorScheme) => {
    await page.emulateMedia({ colorScheme });
    const { violations } = await new AxeBuilder({ page }).analyze();
    expect(
      violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(' ')}`)),
    ).toEqual([]);
  });

  it.each([
    [390, 844],
    [1024, 768],
    [1440, 900],
  ])('shows both pictures and the caption on the first screen of %i × %i', async (width, height) => {
    await page.setViewportSize({ width, height });
    await page.evaluate(() => scrollTo(0, 0));
    for (const id of ['frame-a', 'frame-b', 'caption', 'count']) {
      const box = (await page.locator(`#${id}`).boundingBox())!;
      expect(box.y + box.height, id).toBeLessThanOrEqual(height);
    }
    if (width > 720) return;
    const small = await page.locator('main').evaluate((main) =>
      [...main.querySelectorAll('button, select')]
        .map((each) => ({ id: each.id || each.textContent, box: each.getBoundingClientRect() }))
        .filter(({ box }) => box.width > 0 && (box.width < 44 || box.height < 44))
        .map(({ id }) => id),
    );
    expect(small).toEqual([]);
    await page.setViewportSize({ width: 320, height: 640 });
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0);
  });
});

describe('without WebGPU', () => {
  it('says why the page cannot run', async () => {
    const { page } = await openPage(
      site,
      (opened) =>
        opened.addInitScript(() => Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined })),
      'demo/compare/',
    );
    await page.locator('#unsupported').waitFor();
    expect(await page.locator('#panel').isVisible()).toBe(false);
    expect(await text(page, 'unsupported-reason')).not.toBe('');
    const recorded = page.locator('#unsupported img');
    await recorded.first().scrollIntoViewIfNeeded();
    await expect
      .poll(() => recorded.first().evaluate((image) => (image as HTMLImageElement).naturalWidth))
      .toBe(938);
    await page.context().close();
  });
});
