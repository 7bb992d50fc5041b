// dtype 'auto' with a browser cache. The self-test chooses the dtype, and the cached file serves every
// choice.
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Page } from 'playwright';
import { cached, openVisit, renew, type Site, type Visit } from './browser.ts';
import { largeFile } from './server.ts';

let visitor: Visit;
let site: Site;
let page: Page;
beforeAll(async () => {
  visitor = await openVisit('shared');
  ({ site, page } = visitor);
});
afterAll(() => visitor.close());
beforeEach(() => renew(visitor));

interface Found {
  readonly dtype: string;
  readonly reason: string;
  readonly fetchedBytes: number;
}

/** Loads a model with dtype 'auto'. With `wrong`, the device returns wrong values for f16 weights. */
const loadAuto = (wrong: boolean): Promise<Found> =>
  page.evaluate(async (mistaken) => {
    const { DINOv2 } = (globalThis as unknown as { library: typeof import('../../src/index.ts') }).library;
    const adapter = await navigator.gpu.requestAdapter();
    // Without subgroups, SwiftShader gets kernels that take ten times longer to compile.
    const requiredFeatures = (['subgroups'] as const).filter((feature) => adapter!.features.has(feature));
    const device = await adapter!.requestDevice({ requiredFeatures });
    const create = device.createShaderModule.bind(device);
    if (mistaken)
      device.createShaderModule = ({ code, ...rest }) =>
        create({ ...rest, code: code.replaceAll('unpack2x16float(stored.y)', 'unpack2x16float(stored.x)') });
    const model = await DINOv2.fromPretrained('/weights/', { dtype: 'auto', device });
    const { dtype, dtypeReason: reason, loaded } = model;
    model.dispose();
    device.destroy();
    return { dtype, reason, fetchedBytes: loaded.fetchedBytes };
  }, wrong);

test('fp16 is loaded where f16 is right, then read from the cache; where f16 is wrong, fp32 comes from the same entry', async () => {
  expect(await loadAuto(false)).toMatchObject({ dtype: 'fp16', fetchedBytes: largeFile.length });
  site.down = true;
  expect(await loadAuto(false)).toMatchObject({ dtype: 'fp16', fetchedBytes: 0 });
  expect(await loadAuto(true)).toMatchObject({
    dtype: 'fp32',
    fetchedBytes: 0,
    reason: expect.stringContaining('A preferred form was rejected') as string,
  });
  expect(await cached(page)).toHaveLength(1);
});

test('f16 is wrong and nothing is cached: the file is downloaded once', async () => {
  expect(await loadAuto(true)).toMatchObject({ dtype: 'fp32', fetchedBytes: largeFile.length });
  expect(await cached(page)).toMatchObject([{ complete: true }]);
});
