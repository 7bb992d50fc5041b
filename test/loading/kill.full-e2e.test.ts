// Kills the browser twenty times during one download. Stored blocks must be intact, and at most one block may
// be fetched twice, unless the browser itself lost part of its file directory.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Page } from 'playwright';
import { BLOCK_BYTES } from '../../src/cache/format.ts';
import { huggingFaceTensors } from '../../src/weights/huggingFace.ts';
import { encodeSafetensorsHeader } from '../../src/safetensors.ts';
import { syntheticStream } from '../../src/weights/synthetic.ts';
import { configOf, type ModelSize } from '../../src/model/config.ts';
import { configJson } from '../../src/model/configJson.ts';
import { parameters } from '../../src/model/parameters.ts';
import {
  droppedBytes,
  kill,
  load,
  makeProfile,
  openLives,
  progressOf,
  storedFiles,
  visit,
  type Lives,
  type Profile,
  type Site,
} from './browser.ts';

const KILLS = 20;

let lives: Lives;
let site: Site;
let profile: Profile;
beforeAll(async () => {
  lives = await openLives();
  ({ site, profile } = lives);
});
afterEach(() => {
  Object.assign(site, { bytesPerSecond: 0, limit: Infinity }); // reset after a failed test
});
afterAll(() => lives.close());

async function checkpoint(size: ModelSize): Promise<Map<string, Uint8Array>> {
  const config = configOf(size);
  const { header, pieces } = syntheticStream(huggingFaceTensors(parameters(config)));
  const bytes = new Uint8Array(header.fileBytes);
  bytes.set(encodeSafetensorsHeader(header.tensors, header.metadata).bytes);
  for await (const { info, offset, bytes: part } of pieces) bytes.set(part, info.begin + offset);
  return new Map([
    ['config.json', new TextEncoder().encode(JSON.stringify(configJson(config)))],
    ['model.safetensors', bytes],
  ]);
}

/** Stored blocks: the numbers of those with a correct checksum, and the file names of the rest. */
const storedBlocks = (page: Page): Promise<{ whole: number[]; torn: string[] }> =>
  page.evaluate(async () => {
    const found = { whole: [] as number[], torn: [] as string[] };
    const digest = async (bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> =>
      new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('dinov2-webgpu');
    for await (const folder of root.values()) {
      const files = new Map<string, Uint8Array<ArrayBuffer>>();
      for await (const [name, handle] of (folder as FileSystemDirectoryHandle).entries())
        files.set(
          name,
          new Uint8Array(await (await (handle as FileSystemFileHandle).getFile()).arrayBuffer()),
        );
      const manifest = files.get('manifest');
      if (!manifest || manifest.length === 0) continue; // the browser lost the manifest, so the entry's blocks do not count
      const { nonce, files: list } = JSON.parse(new TextDecoder().decode(manifest.subarray(32))) as {
        nonce: string;
        files: { name: string; validator: string }[];
      };
      for (const [name, bytes] of files) {
        const block = Number(/\.safetensors-(\d+)$/.exec(name)?.[1] ?? NaN);
        if (Number.isNaN(block) || bytes.length === 0) continue; // created, but killed before it was written
        const place = new TextEncoder().encode(
          JSON.stringify([nonce, list[0]!.name, list[0]!.validator, block]),
        );
        // The same checksum as in src/cache/format.ts.
        const seal = await digest(new Uint8Array([...(await digest(bytes.subarray(32))), ...place]));
        if (seal.every((byte, k) => byte === bytes[k])) found.whole.push(block);
        else found.torn.push(name);
      }
    }
    return found;
  });

test('twenty kills', { timeout: 900_000 }, async () => {
  site.files = await checkpoint('small');
  const total = site.files.get('model.safetensors')!.length;
  const blocks = Math.ceil(total / BLOCK_BYTES);
  let reached = 0;
  let drops = 0;
  const worst = { page: 0, browser: 0 };
  /** Counts the bytes that the page had before the kill and that are now missing. */
  const look = async (page: Page): Promise<void> => {
    const { whole, torn } = await storedBlocks(page);
    expect(torn).toEqual([]);
    let lost = 0;
    for (let block = 0; block < blocks; block++)
      if (!whole.includes(block)) lost += Math.min(Math.max(reached - block * BLOCK_BYTES, 0), BLOCK_BYTES);
    const dropped = droppedBytes(profile.folder) > 0;
    if (dropped) drops += 1;
    const who = dropped ? 'browser' : 'page';
    worst[who] = Math.max(worst[who], lost);
  };
  for (let i = 1; i <= KILLS; i++) {
    const { context, page } = await visit(profile, site);
    if (i > 1) await look(page);
    site.bytesPerSecond = 3_000_000;
    const goal = (total * i) / (KILLS + 1);
    site.limit = (total * (i + 0.5)) / (KILLS + 1); // the load cannot finish before the kill
    const ended = load(page).then(
      () => 'loaded',
      () => 'killed',
    );
    await expect.poll(() => progressOf(page), { timeout: 60_000, interval: 10 }).toBeGreaterThan(goal);
    reached = await progressOf(page);
    kill(profile);
    expect(await ended).toBe('killed');
    await context.close().catch(() => undefined); // its processes are gone already
  }
  Object.assign(site, { bytesPerSecond: 0, limit: Infinity });
  const { context, page } = await visit(profile, site);
  await look(page);
  console.log(
    `killed ${KILLS} times: at most ${worst.page} bytes that the page had were lost; ${drops} times the browser dropped part of its log and lost at most ${worst.browser} bytes`,
  );
  expect(worst.page).toBeLessThanOrEqual(BLOCK_BYTES);
  const { hash, loaded } = await load(page);
  if (drops === 0) expect(loaded.cachedBytes).toBeGreaterThan(0.8 * total);
  expect((await storedFiles(page)).filter(([name]) => name.endsWith('.crswap'))).toEqual([]);
  expect((await load(page, { cache: 'none' })).hash).toBe(hash);
  expect((await load(page)).loaded.fetchedBytes).toBe(0);
  await context.close();
});

test('the heap of a page that loads ViT-B grows by at most 32 MiB', { timeout: 900_000 }, async () => {
  site.files = await checkpoint('base');
  const fresh = makeProfile();
  const { context, page } = await visit(fresh, site);
  try {
    const session = await context.newCDPSession(page);
    await session.send('Performance.enable');
    await session.send('HeapProfiler.enable');
    await session.send('HeapProfiler.collectGarbage');
    const heap = async (): Promise<{ used: number; backing: number }> => {
      const { metrics } = await session.send('Performance.getMetrics');
      const usage = (await session.send('Runtime.getHeapUsage')) as { backingStorageSize?: number };
      return {
        used: metrics.find(({ name }) => name === 'JSHeapUsedSize')!.value,
        backing: usage.backingStorageSize ?? 0,
      };
    };
    const start = await heap();
    let most = { used: 0, backing: 0 };
    let loading = true;
    const watching = (async () => {
      while (loading) {
        const now = await heap();
        most = { used: Math.max(most.used, now.used), backing: Math.max(most.backing, now.backing) };
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })();
    const { loaded } = await load(page, { cache: 'opfs' });
    loading = false;
    await watching;
    console.log(
      `ViT-B, ${loaded.fetchedBytes} bytes: JSHeapUsedSize + ${((most.used - start.used) / 2 ** 20).toFixed(1)} MiB, array buffers + ${((most.backing - start.backing) / 2 ** 20).toFixed(1)} MiB`,
    );
    expect(loaded.fetchedBytes).toBe(site.files.get('model.safetensors')!.length);
    expect(most.used - start.used).toBeLessThanOrEqual(32 * 2 ** 20);
    expect(most.backing - start.backing).toBeLessThanOrEqual(32 * 2 ** 20);
  } finally {
    await context.close();
    fresh.remove();
  }
});
