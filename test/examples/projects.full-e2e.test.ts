// The projects of examples/, installed in empty folders from the registry with the packed library, built, and
// tried in Chromium with a tiny checkpoint in place of the hub's.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EXAMPLES, tryExample } from '../../scripts/consumers/examples.mjs';
import { root } from '../../scripts/consumers/package.mjs';
import { packedLibrary } from '../builds.ts';
import { openChromium } from '../chromium.ts';
import { long } from '../full.ts';

const into = mkdtempSync(join(tmpdir(), 'projects-'));
let tarball: string;
let browser: Browser;
beforeAll(async () => {
  tarball = await packedLibrary();
  browser = await openChromium();
}, 600_000);
afterAll(async () => {
  await browser?.close();
  rmSync(into, { recursive: true, force: true });
});

test('every project is tried', () => {
  const folders = readdirSync(join(root, 'examples'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name !== 'node')
    .map(({ name }) => name);
  expect(Object.keys(EXAMPLES).sort()).toEqual(folders.sort());
});

test.each(long ? Object.keys(EXAMPLES) : ['react'])(
  '%s',
  async (name) => {
    expect(await tryExample(name, { tarball, browser, into })).toMatchObject({ build: 'ok', page: 'ok' });
  },
  600_000,
);
