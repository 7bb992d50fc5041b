// A second browser engine, and a second WGSL compiler (naga): the library as it is, in Firefox over WebDriver BiDi. Run by `npm run test:firefox`.
import { writeFileSync } from 'node:fs';
import type { Page } from 'puppeteer-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FP32_MAX_ERROR, readTensors } from '../parity.ts';
import { maxError, minCosine } from '../tolerance.ts';
import { openFirefox, type Firefox } from './browser.ts';

let firefox: Firefox;
let page: Page;

beforeAll(async () => {
  firefox = await openFirefox();
  page = firefox.page;
});
afterAll(() => firefox?.close());

test('there is an adapter', async () => {
  const { ok, reason, adapter, features } = await page.evaluate(() => globalThis.actions.support());
  expect(reason).toBeUndefined();
  expect(ok).toBe(true);
  const name = adapter!.description || `${adapter!.vendor} ${adapter!.architecture}`.trim() || 'an adapter without a name';
  const folder = process.env['TEST_ADAPTER_FOLDER'];
  if (folder) writeFileSync(`${folder}/firefox`, `${firefox.version}: ${name}${features!.includes('shader-f16') ? ', shader-f16' : ''}`);
});

test.each(['plain', 'registers', 'swiglu'])('tiny-%s at 56 × 98, batch 2', async (kind) => {
  const expected = (await readTensors(`tiny-${kind}/expected.56x98.b2.safetensors`)).get('last_hidden_state')!.values;
  const found = await page.evaluate((name) => globalThis.actions.tiny(name), kind);
  expect(maxError(found, expected)).toBeLessThanOrEqual(FP32_MAX_ERROR);
});

test('small at 224 × 224, weights by formula', async () => {
  const expected = (await readTensors('small.expected.224x224.safetensors')).get('last_hidden_state')!.values;
  const { values, ms } = await page.evaluate(() => globalThis.actions.small());
  console.log(`Firefox: small 224 × 224 in ${ms.toFixed(0)} ms`);
  expect(maxError(values, expected)).toBeLessThanOrEqual(FP32_MAX_ERROR);
});

test.each(
  (['auto', 'fp16', 'int8'] as const).flatMap((dtype) => (['plain', 'registers', 'swiglu', 'small'] as const).map((kind) => [kind, dtype] as const)),
)('%s in %s: the direction of every token', async (kind, dtype) => {
  const [path, columns] = kind === 'small' ? ['small.expected.224x224.safetensors', 384] : [`tiny-${kind}/expected.56x98.b2.safetensors`, 128];
  const expected = (await readTensors(path)).get('last_hidden_state')!.values;
  const found = await page.evaluate((name, type) => globalThis.actions.stored(name, type), kind, dtype);
  const cosine = minCosine(found.values, expected, columns);
  console.log(`Firefox: ${kind} 1 - ${(1 - cosine).toExponential(1)}: ${found.reason}`);
  expect(found.dtype).toBe(dtype === 'int8' ? 'int8' : 'fp16');
  expect(cosine).toBeGreaterThanOrEqual(dtype === 'int8' ? 0.9995 : 0.99999);
});
