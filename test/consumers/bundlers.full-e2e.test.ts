// A project for each bundler, installed in an empty folder from the registry with the packed library, built,
// and run in Chromium: the library on the page and in a worker. docs/guide/worker.md has the table.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PROJECTS, tryProject } from '../../scripts/consumers/bundlers.mjs';
import { root } from '../../scripts/consumers/package.mjs';
import { packedLibrary } from '../builds.ts';
import { openChromium } from '../chromium.ts';
import { long } from '../full.ts';

const names = long ? Object.keys(PROJECTS) : ['import-map', 'cdn', 'esbuild', 'trusted-types'];

const into = mkdtempSync(join(tmpdir(), 'consumers-'));
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
  const folders = readdirSync(join(root, 'test/consumers'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !['app', 'typescript'].includes(entry.name))
    .map(({ name }) => name);
  expect(Object.keys(PROJECTS).sort()).toEqual(folders.sort());
});

test.each(names)(
  '%s',
  async (name) => {
    const { bytes: _, gzipBytes: __, ...steps } = await tryProject(name, { tarball, browser, into });
    expect(Object.keys(steps).length).toBeGreaterThan(2);
    for (const [step, result] of Object.entries(steps)) expect(`${step}: ${result}`).toBe(`${step}: ok`);
  },
  600_000,
);
