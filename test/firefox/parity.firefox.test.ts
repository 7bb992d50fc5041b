// Parity in Firefox, a second browser engine with its own WGSL compiler (naga), driven through WebDriver
// BiDi. Run with `npm run test:firefox`.
import { writeFileSync } from 'node:fs';
import type { Page } from 'puppeteer-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cosines, MASSIVE_FP32_RELATIVE, maxRelativeError, minCosineOf } from '../model/dtypeCases.ts';
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

test('an adapter is available', async () => {
  const { ok, reason, adapter, features } = await page.evaluate(() => globalThis.actions.support());
  expect(reason).toBeUndefined();
  expect(ok).toBe(true);
  const name =
    adapter!.description ||
    `${adapter!.vendor} ${adapter!.architecture}`.trim() ||
    'an adapter without a name';
  const folder = process.env['TEST_ADAPTER_FOLDER'];
  if (folder)
    writeFileSync(
      `${folder}/firefox`,
      `${firefox.version}: ${name}${features!.includes('shader-f16') ? ', shader-f16' : ''}`,
    );
});

test.each(['plain', 'registers', 'swiglu'])('tiny-%s at 56 × 98, batch 2', async (kind) => {
  const expected = (await readTensors(`tiny-${kind}/expected.56x98.b2.safetensors`)).get(
    'last_hidden_state',
  )!.values;
  const found = await page.evaluate((name) => globalThis.actions.tiny(name), kind);
  expect(maxError(found, expected)).toBeLessThanOrEqual(FP32_MAX_ERROR);
});

test.each(['plain', 'registers', 'swiglu'])(
  'tiny-%s at 56 × 98, batch 2, with the kernels for real GPUs',
  async (kind) => {
    const expected = (await readTensors(`tiny-${kind}/expected.56x98.b2.safetensors`)).get(
      'last_hidden_state',
    )!.values;
    const found = await page.evaluate((name) => globalThis.actions.asOnGpu(name), kind);
    expect(maxError(found, expected)).toBeLessThanOrEqual(FP32_MAX_ERROR);
  },
);

// Covers naga's translation of native f16, where the adapter has it, and every tile that tune() may choose.
test.each([
  ['f32', 'f32'],
  ['f16-packed', 'f32'],
  ['int8', 'f32'],
  ['f16', 'f32'],
  ['f16', 'f16'],
] as const)(
  'every tile of the kernels for real GPUs, %s weights staged as %s: correct and bit-identical',
  async (weights, operands) => {
    expect(await page.evaluate((...how) => globalThis.actions.everyTile(...how), weights, operands)).toBe(
      true,
    );
  },
);

test('ViT-S with synthetic weights at 224 × 224', async () => {
  const expected = (await readTensors('small.expected.224x224.safetensors')).get('last_hidden_state')!.values;
  const { values, ms } = await page.evaluate(() => globalThis.actions.small());
  console.log(`Firefox: small 224 × 224 in ${ms.toFixed(0)} ms`);
  expect(maxError(values, expected)).toBeLessThanOrEqual(FP32_MAX_ERROR);
});

test.each(
  (['auto', 'fp16', 'int8'] as const).flatMap((dtype) =>
    (['plain', 'registers', 'swiglu', 'small'] as const).map((kind) => [kind, dtype] as const),
  ),
)('%s in %s: the cosine of every token', async (kind, dtype) => {
  const [path, columns] =
    kind === 'small'
      ? ['small.expected.224x224.safetensors', 384]
      : [`tiny-${kind}/expected.56x98.b2.safetensors`, 128];
  const expected = (await readTensors(path)).get('last_hidden_state')!.values;
  const found = await page.evaluate((name, type) => globalThis.actions.stored(name, type), kind, dtype);
  const cosine = minCosine(found.values, expected, columns);
  console.log(`Firefox: ${kind} 1 - ${(1 - cosine).toExponential(1)}: ${found.reason}`);
  expect(found.dtype).toBe(dtype === 'int8' ? 'int8' : 'fp16');
  expect(cosine).toBeGreaterThanOrEqual(minCosineOf(found.dtype));
  const { features } = await page.evaluate(() => globalThis.actions.support());
  const storage = dtype === 'int8' ? 'int8' : features!.includes('shader-f16') ? 'f16' : 'f16-packed';
  expect(found.reason).toContain(`stored as ${storage},`);
});

test.each(['plain', 'registers', 'swiglu'])(
  '%s in fp16 on a device without shader-f16, packed in u32: the cosine of every token',
  async (kind) => {
    const expected = (await readTensors(`tiny-${kind}/expected.56x98.b2.safetensors`)).get(
      'last_hidden_state',
    )!.values;
    const { values, reason } = await page.evaluate((name) => globalThis.actions.packed(name), kind);
    const cosine = minCosine(values, expected, 128);
    console.log(`Firefox: ${kind} 1 - ${(1 - cosine).toExponential(1)}: ${reason}`);
    expect(reason).toContain('stored as f16-packed,');
    expect(cosine).toBeGreaterThanOrEqual(minCosineOf('fp16'));
  },
);

test.each(
  (['fp32', 'fp16', 'int8'] as const).flatMap((dtype) =>
    (['plain', 'registers', 'swiglu'] as const).map((kind) => [kind, dtype] as const),
  ),
)(
  '%s with massive activations, %s: the residual stream, and the cosine of every token with and without the massive channels',
  async (kind, dtype) => {
    const expected = await readTensors(`../massive/${kind}.expected.56x98.b2.safetensors`);
    const found = await page.evaluate((name, type) => globalThis.actions.massive(name, type), kind, dtype);
    for (const [name, values] of [
      ['hidden_states.4', found.residual],
      ['last_hidden_state', found.last],
    ] as const) {
      const wanted = expected.get(name)!.values;
      if (dtype === 'fp32') {
        const error = maxRelativeError(Float32Array.from(values), wanted, 128);
        console.log(
          `Firefox: massive ${kind} ${name} fp32: ${error.toExponential(1)} of the token's largest`,
        );
        expect(error).toBeLessThanOrEqual(MASSIVE_FP32_RELATIVE);
        continue;
      }
      const { whole, quiet } = cosines(Float32Array.from(values), wanted, 128);
      console.log(
        `Firefox: massive ${kind} ${name} ${dtype}: 1 - ${(1 - whole).toExponential(1)}, without the massive channels 1 - ${(1 - quiet).toExponential(1)}`,
      );
      expect(whole).toBeGreaterThanOrEqual(minCosineOf(dtype));
      expect(quiet).toBeGreaterThanOrEqual(minCosineOf(dtype));
    }
  },
);
