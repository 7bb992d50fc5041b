// Starts Firefox through WebDriver BiDi and opens the page with the test actions (page.ts).
import { existsSync } from 'node:fs';
import puppeteer, { type Page } from 'puppeteer-core';
import { createServer } from 'vite';
import type {} from './page.ts';

const executablePath =
  process.env['FIREFOX_PATH'] ??
  ['/usr/bin/firefox-esr', '/usr/bin/firefox'].find((path) => existsSync(path));
const icd = process.env['TEST_ADAPTER'];

export interface Firefox {
  readonly page: Page;
  /** The address of the server, which serves the repository. */
  readonly origin: string;
  readonly version: string;
  readonly close: () => Promise<void>;
}

/** @param path the page to open. Default: the page with the test actions */
export async function openFirefox(path = '/test/firefox/page.html'): Promise<Firefox> {
  if (!executablePath) throw new Error('No Firefox: set FIREFOX_PATH. These tests fail without Firefox.');
  const server = await createServer({
    configFile: 'vite.config.ts',
    server: { port: 0, host: '127.0.0.1', hmr: false, watch: null },
    logLevel: 'warn',
  });
  await server.listen();
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath,
    headless: true,
    extraPrefsFirefox: { 'dom.webgpu.enabled': true, 'gfx.webgpu.ignore-blocklist': true },
    env: { ...process.env, ...(icd && icd !== 'any' ? { VK_ICD_FILENAMES: icd, VK_DRIVER_FILES: icd } : {}) },
    protocolTimeout: 600_000,
  });
  const page = await browser.newPage();
  page.on('console', (message) => console.log(`Firefox: ${message.text()}`));
  const origin = server.resolvedUrls!.local[0]!;
  await page.goto(new URL(path, origin).href);
  if (path.startsWith('/test/')) await page.waitForFunction(() => 'actions' in globalThis);
  const close = async (): Promise<void> => {
    await browser.close();
    await server.close();
  };
  return { page, origin, version: await browser.version(), close };
}
