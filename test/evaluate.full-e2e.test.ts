// Loads while the garbage collector runs every few milliseconds: no promise of a load may depend on an object
// that can be collected. And the false report that evaluate.ts corrects.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BrowserContext, Page } from 'playwright';
import { chromiumArgs } from '../scripts/software-gpu.mjs';
import { launch, makeProfile, open, openSite, type Profile, type Site } from './loading/browser.ts';

interface Here {
  readonly library: typeof import('../src/index.ts');
  readonly gc: (options: { type: 'major'; execution?: 'async' }) => unknown;
  timer: ReturnType<typeof setInterval>;
  collections: number;
}

let site: Site;
let profile: Profile;
let context: BrowserContext;
let page: Page;
beforeAll(async () => {
  site = await openSite();
  profile = makeProfile();
  context = await launch(profile, [...chromiumArgs, '--js-flags=--expose-gc']);
  page = context.pages()[0] ?? (await context.newPage());
  await open(page, site);
});
afterAll(async () => {
  await context.close();
  await site.close();
  profile.remove();
});

test('the value of a promise is returned although the garbage collector runs just after its resolution', async () => {
  const value = await page.evaluate(async () => {
    const { gc } = globalThis as unknown as Here;
    await new Promise((resolve) => setTimeout(resolve));
    let steps = Promise.resolve();
    for (let i = 0; i < 8; i++) steps = steps.then(() => void gc({ type: 'major' })); // between the steps of the resolution
    return { value: 7 };
  });
  expect(value).toEqual({ value: 7 });
});

test('so is the error of a rejected promise', async () => {
  const failing = page.evaluate(async () => {
    const { gc } = globalThis as unknown as Here;
    await new Promise((resolve) => setTimeout(resolve));
    let steps = Promise.resolve();
    for (let i = 0; i < 8; i++) steps = steps.then(() => void gc({ type: 'major' }));
    throw new RangeError('its own error');
  });
  await expect(failing).rejects.toThrow('its own error');
});

test('a promise that nothing can resolve any more is still reported', async () => {
  const lost = page.evaluate(async () => {
    const { gc } = globalThis as unknown as Here;
    setTimeout(() => gc({ type: 'major', execution: 'async' }), 10);
    await new Promise(() => undefined);
  });
  await expect(lost).rejects.toThrow('Resulting promise was garbage collected');
});

test('an abort reaches a load that waits for the server, although the garbage collector has run', async () => {
  site.limit = 1000;
  const outcome = await page.evaluate(async () => {
    const { library, gc } = globalThis as unknown as Here;
    const controller = new AbortController();
    const { signal } = controller;
    const loading = library.DINOv2.fromPretrained('/weights/', { cache: 'none', signal }).then(
      () => 'loaded',
      (error: unknown) => String(error),
    );
    for (let i = 0; i < 40; i++) {
      await new Promise((resolve) => setTimeout(resolve, 25));
      await gc({ type: 'major', execution: 'async' });
    }
    controller.abort(new Error('enough'));
    return loading;
  });
  site.limit = Infinity;
  expect(outcome).toBe('Error: enough');
});

test('loads and forward passes end while the garbage collector runs every 10 ms', async () => {
  await page.evaluate(() => {
    const here = globalThis as unknown as Here;
    here.collections = 0;
    here.timer = setInterval(() => {
      here.gc({ type: 'major', execution: 'async' });
      here.collections += 1;
    }, 10);
  });
  // The lock of a cache entry keeps the promises of a cached load reachable. Without a cache, nothing does.
  for (const cache of ['auto', 'auto', 'none'] as const) {
    const tokens = await page.evaluate(async (kind) => {
      const { library } = globalThis as unknown as Here;
      const model = await library.DINOv2.fromPretrained('/weights/', { dtype: 'auto', cache: kind });
      const pixels = Float32Array.from({ length: 3 * 28 * 28 }, (_, i) => Math.sin(i));
      const features = await model.forward(pixels, { height: 28, width: 28 });
      const { length } = await features.lastHiddenState();
      features.dispose();
      model.dispose();
      return length;
    }, cache);
    expect(tokens).toBeGreaterThan(0);
  }
  const collections = await page.evaluate(() => {
    const { timer, collections: count } = globalThis as unknown as Here;
    clearInterval(timer);
    return count;
  });
  expect(collections).toBeGreaterThan(20);
});
