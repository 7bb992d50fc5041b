// A second browser engine, and a second WGSL compiler (naga): the library as it is, in Firefox over WebDriver BiDi. Run by `npm run test:firefox`.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import puppeteer, { type Browser, type Page } from 'puppeteer-core';
import { createServer, type ViteDevServer } from 'vite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseSafetensors } from '../../src/checkpoint/safetensors.ts';
import { FP32_MAX_ERROR, readTensors } from '../parity.ts';
import { maxError, minCosine } from '../tolerance.ts';
import type {} from './page.ts';

const executablePath = process.env['FIREFOX_PATH'] ?? ['/usr/bin/firefox-esr', '/usr/bin/firefox'].find((path) => existsSync(path));
const icd = process.env['TEST_ADAPTER'];

let server: ViteDevServer;
let browser: Browser;
let page: Page;

beforeAll(async () => {
  if (!executablePath) throw new Error('No Firefox: set FIREFOX_PATH. These tests cannot run, and do not pass without one.');
  server = await createServer({ configFile: 'vite.config.ts', server: { port: 0, host: '127.0.0.1' }, logLevel: 'warn' });
  await server.listen();
  browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath,
    headless: true,
    extraPrefsFirefox: { 'dom.webgpu.enabled': true, 'gfx.webgpu.ignore-blocklist': true },
    env: { ...process.env, ...(icd && icd !== 'any' ? { VK_ICD_FILENAMES: icd, VK_DRIVER_FILES: icd } : {}) },
    protocolTimeout: 600_000,
  });
  page = await browser.newPage();
  page.on('console', (message) => console.log(`Firefox: ${message.text()}`));
  await page.goto(new URL('/test/firefox/page.html', server.resolvedUrls!.local[0]!).href);
  await page.waitForFunction(() => 'actions' in globalThis);
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
});

test('there is an adapter', async () => {
  const { ok, reason, adapter, features } = await page.evaluate(() => globalThis.actions.support());
  expect(reason).toBeUndefined();
  expect(ok).toBe(true);
  const name = adapter!.description || `${adapter!.vendor} ${adapter!.architecture}`.trim() || 'an adapter without a name';
  const folder = process.env['TEST_ADAPTER_FOLDER'];
  if (folder) writeFileSync(`${folder}/firefox`, `${await browser.version()}: ${name}${features!.includes('shader-f16') ? ', shader-f16' : ''}`);
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

test("photographs: Pillow's pixels to the last bit", async () => {
  const found = await page.evaluate(() => globalThis.actions.photographs());
  console.log(`Firefox, pixels: ${JSON.stringify(found)}`);
  for (const name of ['astronaut.png', 'chelsea.png', 'coffee.png', 'rocket.jpg']) expect(found[name], name).toMatchObject({ differing: 0 });
});

/** Every awkward kind of 42 × 28 but 16-bit grey, of which Pillow makes a white image (test/fixtures/pixels/README.md). */
const awkward = readdirSync(new URL('../fixtures/pixels/images/', import.meta.url)).filter((name) => !/^(grey16|\d+x1\.)/.test(name));

/** Firefox rounds 16 bits to 8 where Pillow cuts them: 1 of 255 in a quarter of the values. */
const steps = (name: string): number => (name === 'rgb16.png' ? 1 : 0);

test.each(awkward)('%s: the colours that Pillow decodes', async (name) => {
  const bytes = readFileSync(new URL('../fixtures/pixels/expected.safetensors', import.meta.url));
  const { begin, end } = parseSafetensors(bytes).tensors.get(`${name}.rgb`)!;
  const found = await page.evaluate((each) => globalThis.actions.colours(each), name);
  const expected = [...bytes.subarray(begin, end)];
  const differing = expected.filter((value, i) => found[i] !== value).length;
  if (differing > 0) console.log(`Firefox, ${name}: ${differing} of ${expected.length} differ, at most by ${maxError(found, expected)}`);
  expect(maxError(found, expected)).toBeLessThanOrEqual(steps(name));
});
