/** The page What runs, used as by a visitor: the plan, sources, times, the benchmark, the report. */
import { AxeBuilder } from '@axe-core/playwright';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  fileOf,
  give,
  openPage,
  openSite,
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

const text = (page: Page, id: string): Promise<string> => page.locator(`#${id}`).innerText();
const facts = async (page: Page): Promise<Record<string, string>> => {
  const words = await page.locator('#facts').locator('dt, dd').allInnerTexts();
  return Object.fromEntries(words.flatMap((word, i) => (i % 2 === 0 ? [[word, words[i + 1]!]] : [])));
};
/** The numbers in a column of the table of kernels. */
const column = async (page: Page, selector: string): Promise<number[]> =>
  (await page.locator(`#kernels ${selector}`).allTextContents()).map(Number);

async function violations(page: Page): Promise<string[]> {
  const { violations: found } = await new AxeBuilder({ page }).analyze();
  return found.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(' ')}`));
}

describe('the page What runs', () => {
  let watched: Watched;
  let page: Page;
  beforeAll(async () => {
    watched = await openPage(site, watchShifts, 'demo/runs/?px=224');
    page = watched.page;
  });
  afterAll(() => page.context().close());

  it('shows the plan of ViT-S: 87 dispatches, and the file of a kernel', async () => {
    await page.locator('#facts dt').first().waitFor();
    expect(await text(page, 'status')).toMatch(/^87 dispatches\. Intermediate results share \d+ buffers/);
    expect((await column(page, '.count')).reduce((sum, each) => sum + each, 0)).toBe(87);
    expect(await page.locator('#kernels tr').count()).toBeGreaterThanOrEqual(6);
    const file = await text(page, 'source-heading');
    const source = readFileSync(join(root, file), 'utf8');
    expect(await page.locator('#source').textContent()).toBe(`${source}\n`);
    expect((await page.locator('#plan').textContent())!.split('\n')).toHaveLength(88);
    const { sum, moved } = await shiftsOf(page);
    expect(sum, moved).toBeLessThanOrEqual(0.02);
  });

  it('opens the source of another kernel by keyboard, and its address opens it again', async () => {
    await page.locator('button[data-kernel="patch_embed"]').focus();
    await page.keyboard.press('Enter');
    await page.locator('#source-heading', { hasText: 'patch_embed.wgsl' }).waitFor();
    expect(await page.locator('#source').textContent()).toContain('fn patch_embed(');
    expect(await page.locator('#kernels button[aria-pressed="true"]').count()).toBe(1);
    expect(new URL(page.url()).search).toBe('?px=224&kernel=patch_embed');
  });

  it('says what the machine is', async () => {
    const found = await facts(page);
    expect(found['Adapter']).toMatch(/emulated on the processor/);
    expect(found['WebGPU features']).toMatch(
      /^shader-f16: (yes|no), subgroups: (yes|no), timestamp-query: (yes|no)$/,
    );
    expect(found['Parameters']).toBe('22.1 million');
    expect(found['Weights on the GPU']).toMatch(/^float32\. .*passed the self-test in \d+ ms/);
  });

  it('measures each kernel of a dropped model, and puts times and benchmark into the report', async () => {
    await give(page, 'drop', fileOf(join(tiny, 'model.safetensors')));
    await page.locator('#model-name', { hasText: 'model.safetensors' }).waitFor();
    await page.locator('#px').selectOption('112');
    await page.locator('#measure').click();
    await page.locator('#status', { hasText: 'The forward pass takes' }).waitFor();
    const count = await page.locator('#kernels tr').count();
    expect(count).toBeGreaterThanOrEqual(6);
    const times = await page.locator('#kernels tr td:nth-child(3)').allTextContents();
    expect(times.every((time) => /^[\d.]+ m?s$/.test(time) && Number.parseFloat(time) > 0)).toBe(true);
    const shares = (await page.locator('#kernels .share span').allTextContents()).map(Number.parseFloat);
    expect(shares).toHaveLength(count);
    // Small work whose data stay in caches can exceed the ceiling, which other work on the machine lowers.
    expect(shares.every((share) => Number.isFinite(share) && share >= 0)).toBe(true);

    await page.locator('#bench').click();
    await page.locator('#bench-status', { hasText: 'median of 10' }).waitFor();
    await page.locator('#copy:not([disabled])').waitFor();
    const report = await text(page, 'report');
    expect(report).toMatch(/^- Library: dinov2-webgpu \d+\.\d+\.\d+, in a page\n/);
    expect(report).toMatch(/\n- Adapter: .*\(emulated on the processor\)\n/);
    expect(report).toMatch(/\n- Model: \d+ blocks, .*\n/);
    expect(report).toMatch(/\n- Forward: \d+ × \d+: [\d.]+(, [\d.]+)* ms(; ended after 5 s)?\n/);
    expect(report).not.toContain('safetensors');
    expect(report).toMatch(/\n\| 112 × 112 \| [\d.]+ \| [\d.]+ \| 10 \|\n/);
    expect(report).toMatch(/\| sum \| \d+ \| [\d.]+ \| 100\.0 % \|/);
    expect(report).not.toMatch(/https?:/);

    // In a page without focus the clipboard is refused. The page then selects the text.
    await page.locator('#copy').click();
    await page.locator('#copy', { hasText: /Copied|Selected/ }).waitFor();
  });

  it.each(['light', 'dark'] as const)('has no axe violations in %s mode', async (colorScheme) => {
    await page.emulateMedia({ colorScheme });
    expect(await violations(page)).toEqual([]);
  });

  it('fits into 320 pixels, and complains about a picture', async () => {
    await page.setViewportSize({ width: 320, height: 640 });
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0);
    await give(page, 'drop', { name: 'picture.png', bytes: new Uint8Array(8) });
    expect(await toast(page, 'model').innerText()).toMatch(/picture\.png is not a \.safetensors file/);
    expect(watched.complaints).toEqual([]);
  });
});
