// Losses of the device while the page is offline. A model whose weights are cached recovers without the network. One
// that is not cached rejects with an error of the contract, and recovers when the network is back.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openVisit, type Visit } from '../loading/browser.ts';

interface OfflineGlobals {
  readonly library: typeof import('../../src/index.ts');
  model: import('../../src/index.ts').DINOv2;
}

let visit: Visit;
beforeAll(async () => void (visit = await openVisit('shared')));
afterAll(() => visit.close());

const load = (cache: 'auto' | 'none'): Promise<string> =>
  visit.page.evaluate(async (kind) => {
    const globals = globalThis as unknown as OfflineGlobals;
    globals.model = await globals.library.DINOv2.fromPretrained('/weights/', {
      selfTest: false,
      cache: kind,
      retry: { attempts: 2, delayMs: 10 },
    });
    return globals.model.loaded.cache;
  }, cache);

/** The first numbers of an image's embedding, as text; or the code and the message of the error. */
const embed = (lose: boolean): Promise<string> =>
  visit.page.evaluate(async (losing) => {
    const { model } = globalThis as unknown as OfflineGlobals;
    if (losing) model.device.destroy();
    const bytes = await new Promise<Blob>((resolve) => {
      const canvas = document.createElement('canvas');
      canvas.getContext('2d')!.fillRect(0, 0, 99, 50);
      canvas.toBlob((blob) => resolve(blob!));
    });
    return model.embed(bytes, { resize: 'square', size: 28 }).then(
      (vector) => Array.from(vector).join(),
      (error: { code: string; message: string }) => `${error.code}: ${error.message}`,
    );
  }, lose);

test('weights in the cache: the model recovers offline, with the same bits', async () => {
  expect(await load('auto')).not.toBe('none');
  const right = await embed(false);
  expect(right).toMatch(/^-?\d/);
  const { length } = visit.site.asked;
  await visit.context.setOffline(true);
  visit.site.down = true;
  expect(await embed(true)).toBe(right);
  expect(visit.site.asked.length).toBe(length);
  await visit.context.setOffline(false);
  visit.site.down = false;
  await visit.page.evaluate(() => (globalThis as unknown as OfflineGlobals).model.dispose());
});

test("cache: 'none': DEVICE_LOST while offline; the next call recovers when the network is back", async () => {
  expect(await load('none')).toBe('none');
  const right = await embed(false);
  // The code of health() is a file of its own, which must arrive before the network is off.
  await visit.page.evaluate(() => (globalThis as unknown as OfflineGlobals).model.health());
  await visit.context.setOffline(true);
  visit.site.down = true;
  expect(await embed(true)).toMatch(/^DEVICE_LOST: .*could not be loaded again.*model\.recover\(\)/);
  const losses = await visit.page.evaluate(async () => {
    const { model } = globalThis as unknown as OfflineGlobals;
    return (await model.health()).losses;
  });
  expect(losses).toEqual([expect.objectContaining({ error: expect.stringContaining('again') as string })]);
  await visit.context.setOffline(false);
  visit.site.down = false;
  expect(await embed(false)).toBe(right);
  const recovered = await visit.page.evaluate(async () => {
    const { model } = globalThis as unknown as OfflineGlobals;
    return (await model.health()).losses.map(({ recoveredMs, error }) => [typeof recoveredMs, error]);
  });
  expect(recovered).toEqual([['number', undefined]]);
  await visit.page.evaluate(() => (globalThis as unknown as OfflineGlobals).model.dispose());
});
